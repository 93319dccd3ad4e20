# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from noslop_driver.inventory.directory import HOSTS, STUDIO, StudioDirectory
from noslop_driver.inventory.render import Connection
from noslop_driver.models import Host, Plan, Proposal, StudioSettings
from tests.support.driver_cli import run, run_json, spawn_on_terminal
from tests.support.waiting import wait_until
from tests.unit.conftest import StartSshd


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def studio() -> StudioDirectory:
    """Return a studio of two unreachable hosts."""
    names = {"server": ["storage_server", "ollama"], "worker": ["storage_clients", "comfyui"]}
    directory = StudioDirectory(Path("inventories/studio"))
    plan = Plan(
        hosts=[Host(name=name, address=f"127.9.9.{n}", port=1, user="artist") for n, name in enumerate(names, 1)],
        proposals=[
            Proposal.model_validate({"host": name, "score": 50, "roles": roles, "reasons": []})
            for name, roles in names.items()
        ],
        server="server",
        settings=StudioSettings(studio_id="abc"),
        problems=[],
    )
    directory.write(plan, Connection())
    return directory


@pytest.mark.parametrize(
    "command",
    [
        *(
            "discover",
            "plan",
            "deploy",
            "upgrade",
            "nodes add",
            "nodes list",
            "verify",
            "status",
            "env",
            "open",
            "teardown",
        ),
        *("host add", "host remove", "host replace", "host drain"),
    ],
)
def test_every_command_has_help(command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout


def test_help_imports_nothing_that_is_slow() -> None:
    """Importing Ansible and pydantic would make `--help` take three times as long."""
    program = "import sys; from noslop_driver.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-X", "importtime", "-c", program, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "discover" in done.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported
    assert imported & {"ansible", "ansible_runner", "pydantic", "zeroconf"} == set()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["deploy", "--nonsense"], "--nonsense"),
        (["frobnicate"], "frobnicate"),
        (["deploy", "--provider", "ceph"], "ceph"),
        (["deploy", "--role", "worker1"], "HOST=SERVICE"),
        (["deploy", "--storage-root", "relative"], "'relative' is not an absolute path"),
        (["deploy", "--allow", "10.0.0.0/99"], "is no address and no network"),
        (["deploy", "--allow", "0.0.0.0/0"], "with a prefix of /8 or longer"),
        (["plan", "--allow", "::/0"], "with a prefix of /32 or longer"),
        (["deploy", "--config", "nothing.yml"], "nothing.yml"),
        (["deploy", "--pass-file", "nothing", "--host", "127.0.0.1"], "--pass-file nothing: cannot be read"),
        (["deploy", "--pass-file", "x", "--ask-pass"], "--ask-pass and --pass-file contradict"),
        (["deploy", "--ask-become-pass", "--host", "127.0.0.1"], "--become-pass-file FILE"),
        (["deploy", "--network", "10.0.0.0/8"], "10.0.0.0/8"),
        (["plan", "--host", "127.0.0.1", "--host-keys", "nothing"], "--host-keys nothing: cannot be read"),
        (["plan", "--host", "127.0.0.1", "--host-keys", "x", "--accept-new-keys"], "contradict each other"),
        (["verify"], "has no inventory"),
        (["status", "--inventory", "/nowhere"], "/nowhere has no inventory"),
        (["teardown", "--studio", "other"], "inventories/other has no inventory"),
    ],
)
def test_invalid_command_lines_are_usage_errors(words: list[str], message: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_earlier_name_of_config_still_works() -> None:
    Path("config.yml").write_text("noslop_storage_root: relative\n", encoding="utf-8")
    for flag in ("--config", "--wishes"):
        done = run("plan", flag, "config.yml")
        assert done.returncode == 2
        assert "'relative' is not an absolute path" in done.stderr
    shown = run("plan", "--help").stdout
    assert "--config FILE" in shown
    assert "--wishes" not in shown


def test_errors_are_in_the_json() -> None:
    output, done = run_json("deploy", "--storage-root", "relative")
    assert done.returncode == 2
    assert "not an absolute path" in output["error"]
    assert "not an absolute path" in done.stderr


def test_internal_error_has_a_traceback_with_debug_only(studio: StudioDirectory) -> None:
    (studio.state_dir / "written.json").write_text("[no json", encoding="utf-8")
    done = run("status", "--cached")
    assert done.returncode == 1
    assert "please report" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in run("status", "--cached", "--debug").stderr


def test_discover_lists_servers_and_explains_failures(sshd_server: StartSshd) -> None:
    server = sshd_server()
    output, done = run_json("discover", "--host", server.host)
    assert [candidate["host_key"] for candidate in output["candidates"]] == [server.fingerprint]
    assert server.fingerprint in done.stderr
    missing, done = run_json("discover", "--host", "127.0.0.1:1")
    assert done.returncode == 4
    assert missing["problems"][0]["kind"] == "closed"


def test_plan_pins_the_key_and_gathers_the_host(sshd_server: StartSshd) -> None:
    server = sshd_server()
    words = ["plan", "--host", server.host, "--user", server.user, "--ssh-key", str(server.client_key)]

    done = run(*words, "--no-input")
    assert done.returncode == 2
    assert server.fingerprint in done.stdout
    assert "Pass --host-keys FILE or --accept-new-keys" in done.stderr

    Path("keys").write_text(f"256 {server.fingerprint} root@host (ED25519)\n", encoding="ascii")
    output, done = run_json(*words, "--yes", "--host-keys", "keys")
    assert server.public_key in Path("inventories/studio/.noslop/known_hosts").read_text(encoding="ascii")
    assert "Looking at the new hosts" in done.stderr
    # Other problems depend on the machine that runs this test.
    kinds = {problem["kind"] for problem in output["plan"]["problems"]}
    assert not kinds & {"auth_refused", "host_key_unknown", "sudo_password_missing"}, output
    assert done.returncode == (3 if any(problem["fatal"] for problem in output["plan"]["problems"]) else 0)
    assert output["inventory"] is None
    assert not Path("inventories/studio", HOSTS).exists()


def test_changed_host_key_ends_the_command_before_a_login(sshd_server: StartSshd) -> None:
    server = sshd_server()
    state_dir = Path("inventories/studio/.noslop")
    state_dir.mkdir(parents=True)
    other = sshd_server().public_key
    (state_dir / "known_hosts").write_text(f"[{server.address}]:{server.port} {other}\n", encoding="ascii")
    done = run("deploy", "--host", server.host, "--yes")
    assert done.returncode == 3
    for part in (server.fingerprint, "ssh-keygen -R", "another machine may answer in its place"):
        assert part in done.stderr
    assert not any("publickey" in line for line in server.complete_log()), "there was no login"


def test_status_lists_hosts_addresses_and_the_last_records(studio: StudioDirectory) -> None:
    output, _done = run_json("status", "--cached")
    assert [host["name"] for host in output["hosts"]] == ["server", "worker"]
    assert {address["url"] for address in output["addresses"]} == {"http://127.9.9.1:11434", "http://127.9.9.2:8188"}
    assert output["last_deployment"] is None
    (studio.path / STUDIO).open("a", encoding="utf-8").write("# mine\n")
    record = studio.records / "2026-01-01T000000Z"
    record.mkdir(parents=True)
    outcome = {"command": "deploy", "ok": True, "exit_code": 0, "message": "", "finished": "2026-01-01T00:00:09+00:00"}
    (record / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")
    verification = {"ok": False, "finished": "2026-01-01T00:00:08+00:00", "checks": [{"ok": True}, {"ok": False}]}
    (record / "verification.json").write_text(json.dumps(verification), encoding="utf-8")
    output, done = run_json("status", "--cached")
    assert output["last_deployment"]["ok"] is True
    assert output["last_verification"]["message"] == "2 checks, 1 failed"
    assert output["edited"] == [STUDIO]
    assert "last verification: failed, 2026-01-01T00:00:08+00:00: 2 checks, 1 failed" in done.stderr


def test_verify_of_unreachable_hosts_fails_with_a_record(studio: StudioDirectory) -> None:
    output, done = run_json("verify")
    assert done.returncode == 1
    assert "noslop-driver verify --inventory inventories/studio" in done.stderr
    record = Path(output["record"])
    assert record.parent == studio.records
    assert json.loads((record / "outcome.json").read_text(encoding="utf-8"))["command"] == "verify"
    assert (record / "events.jsonl").read_text(encoding="utf-8")
    log = record / "run.log"
    assert f"Log of this run: {log}" in done.stderr
    assert "verify failed: server (unreachable)" in log.read_text(encoding="utf-8")
    assert f"log: {log}" in run("status", "--cached").stdout


def test_deploy_of_unreachable_hosts_changes_nothing(studio: StudioDirectory) -> None:
    # In the studio, the hosts have addresses that are not loopback.
    before = (studio.path / HOSTS).read_text(encoding="utf-8").replace("noslop_address: 127", "noslop_address: 10")
    (studio.path / HOSTS).write_text(before, encoding="utf-8")
    output, done = run_json("deploy", "--yes")
    assert done.returncode == 4
    problems = output["plan"]["problems"]
    assert {problem["host"] for problem in problems if problem["kind"] == "closed"} == {"server", "worker"}
    assert {proposal["host"]: proposal["roles"] for proposal in output["plan"]["proposals"]} == {
        "server": ["storage_server", "ollama"],
        "worker": ["storage_clients", "comfyui"],
    }
    assert (studio.path / HOSTS).read_text(encoding="utf-8") == before
    assert not studio.records.exists()


def test_flag_that_contradicts_an_edited_file_ends_before_the_search(studio: StudioDirectory) -> None:
    (studio.path / STUDIO).open("a", encoding="utf-8").write("# mine\n")
    done = run("deploy", "--min-free-gb", "7", "--yes")
    assert done.returncode == 2
    assert "noslop_min_free_gb: 7" in done.stderr
    assert "Looking at the hosts" not in done.stdout


def test_second_driver_is_refused(studio: StudioDirectory) -> None:
    studio.make_state_dir()
    with (studio.state_dir / "lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = run("verify")
    assert done.returncode == 2
    assert "Another noslop-driver is at work" in done.stderr


def test_one_of_several_studios_must_be_named(studio: StudioDirectory) -> None:
    other = Path("inventories/other/.noslop")
    other.mkdir(parents=True)
    (other / "written.json").write_text("{}", encoding="utf-8")
    done = run("status", "--cached")
    assert done.returncode == 2
    assert "other, studio" in done.stderr
    assert run("status", "--cached", "--studio", studio.name).returncode == 0


def test_teardown_asks_for_the_name_of_the_studio(studio: StudioDirectory) -> None:
    assert "--yes" in run("teardown").stderr
    child = spawn_on_terminal("teardown")
    child.expect(r"Type the studio's name \(studio\)")
    child.sendline("studo")
    child.expect("nothing was changed")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2
    assert not studio.records.exists()


def test_plan_asks_for_keys_and_settings(sshd_server: StartSshd) -> None:
    server = sshd_server()
    words = ["plan", "--host", server.host, "--user", server.user, "--ssh-key", str(server.client_key)]
    child = spawn_on_terminal(*words)
    child.expect_exact(server.fingerprint)
    child.expect(r"Which of them are your machines\?")
    child.sendline("2")
    child.expect("'2' names none of them")
    child.sendline("1")
    child.expect("Where the shared directories lie")
    child.sendline("relative")
    child.expect("not an absolute path")
    child.sendline("/srv/noslop")
    child.expect_exact("/srv/noslop/comfyui/models")
    child.expect(r"Keep these directories\?")
    child.sendline("")
    child.expect("How they are shared")
    child.sendline("existing")
    child.expect("Accounts of people")
    child.sendline("ann, bob")
    child.expect("Other addresses")
    child.sendline("none")
    child.expect_exact("Storage (existing)")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus in (0, 3)


def test_interrupt_at_a_question_ends_the_command(studio: StudioDirectory) -> None:
    child = spawn_on_terminal("teardown")
    child.expect("Type the studio's name")
    # Python's readline only notices a signal that interrupts its wait for a key, not one that comes right before it.
    wait_until(lambda: Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S")
    child.sendintr()
    child.expect("Stopped")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert not studio.records.exists()
