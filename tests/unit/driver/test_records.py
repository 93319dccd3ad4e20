# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noslop_driver import records
from noslop_driver.ansible.events import Event, Failure, HostStats, Outcome, Status
from noslop_driver.errors import UsageError
from noslop_driver.inventory.directory import Member
from noslop_driver.models import Host, Plan, Proposal, StudioSettings
from noslop_driver.records import Record
from noslop_driver.secrets import SCRUBBED, Secrets, ask_password, private_directory, read_password_file, write_private

SSH_PASSWORD = "correct horse"  # noqa: S105 - a test password
SUDO_PASSWORD = 'battery "staple" ü'  # noqa: S105 - a test password
SECRETS = Secrets(ssh_password=SSH_PASSWORD, become_password=SUDO_PASSWORD)

PASSWORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1).filter(
    lambda text: text not in SCRUBBED
)
DATA = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


def plan() -> Plan:
    hosts = [
        Host(name="server", address="10.0.0.1", user="artist"),
        Host(name="one", address="10.0.0.2", user="artist"),
    ]
    proposals = [
        Proposal(host="server", score=80, roles=["storage_server", "backend"], reasons=["has the disks"]),
        Proposal(host="one", score=60, roles=["storage_clients", "comfyui"], reasons=["has a GPU"]),
    ]
    return Plan(
        hosts=hosts, proposals=proposals, server="server", settings=StudioSettings(studio_id="abc"), problems=[]
    )


def event(result: dict[str, Any], kind: str = "ok") -> Event:
    return Event(kind=kind, time="2026-01-01T00:00:00+00:00", host="one", task="a task", result=result)


def member(**variables: object) -> Member:
    return Member("one", "10.0.0.2", 22, "artist", frozenset({"comfyui"}), variables)


def test_record_has_plan_events_verification_and_outcome(tmp_path: Path) -> None:
    record = Record(tmp_path / "records", "deploy", SECRETS)
    record.write_plan(plan())
    record.write_inventory([member(noslop_min_free_gb=50)])
    record.write_event(
        "storage", event({"changed": True, "ansible_facts": {"big": 1}, "invocation": {"module_args": {}}})
    )
    environment = base64.b64encode(b"NOSLOP_STUDIO_ID=abc\n").decode()
    record.write_event("configure", event({"source": records.NODE_ENV, "content": environment}))
    outcome = Outcome(
        Status.FAILED, 2, {"one": HostStats(ok=3, failed=1)}, [Failure("one", "Mount it", "no such file")]
    )
    record.add_phase("storage", outcome, 12.34)
    record.write_verification({"ok": False, "checks": []})
    record.finish(1, "storage failed", "0.1")

    assert json.loads((record.path / "plan.json").read_text())["server"] == "server"
    storage = json.loads((record.path / "storage.json").read_text())
    assert (storage["server"], storage["clients"], storage["provider"]) == ("server", ["one"], "nfs")
    assert {share["name"]: share["path"] for share in storage["shares"]}["projects"] == "/mnt/noslop/projects"
    assert (record.path / "nodes/one.env").read_text() == "NOSLOP_STUDIO_ID=abc\n"
    assert json.loads((record.path / "inventory.json").read_text()) == {
        "hosts": {"one": {"groups": ["comfyui"], "variables": {"noslop_min_free_gb": 50}}}
    }
    first, second = [json.loads(line) for line in (record.path / "events.jsonl").read_text().splitlines()]
    assert (first["phase"], first["host"], first["result"]) == ("storage", "one", {"changed": True})
    assert second["phase"] == "configure"
    assert json.loads((record.path / "verification.json").read_text()) == {"ok": False, "checks": []}
    ended = json.loads((record.path / "outcome.json").read_text())
    assert (ended["command"], ended["ok"], ended["exit_code"]) == ("deploy", False, 1)
    assert ended["message"] == "storage failed"
    assert ended["phases"][0]["failures"][0]["message"] == "no such file"
    assert {path for path in [record.path, *record.path.rglob("*")] if path.stat().st_mode & 0o077} == set()


def test_records_of_the_same_second_get_different_directories(tmp_path: Path) -> None:
    first, second = (Record(tmp_path, "deploy", Secrets()) for _ in range(2))
    assert first.path != second.path


def test_passwords_are_in_no_file_of_a_record(tmp_path: Path) -> None:
    record = Record(tmp_path / "records", "deploy", SECRETS)
    record.write_inventory([member(OPENAI_KEY="other", noslop_users=[SUDO_PASSWORD])])
    record.write_event(
        "storage", event({"msg": f"sudo -S <<< {SUDO_PASSWORD}", "stdout_lines": [SSH_PASSWORD], SSH_PASSWORD: 1})
    )
    failure = Failure("one", "task", f"wrong: {SSH_PASSWORD}")
    record.add_phase("storage", Outcome(Status.FAILED, 2, {}, [failure], output=SUDO_PASSWORD), 1)
    record.write_verification({"checks": [{"seen": SUDO_PASSWORD}]})
    record.finish(1, f"it was {SSH_PASSWORD}", "0.1")
    for path in record.path.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            for password in (SSH_PASSWORD, SUDO_PASSWORD, json.dumps(SUDO_PASSWORD)[1:-1], "other"):
                assert password not in text, path


@pytest.mark.slow
@given(PASSWORDS, PASSWORDS, DATA)
def test_scrub_replaces_passwords_at_any_depth(one: str, two: str, data: object) -> None:
    secrets = Secrets(one, two)
    poisoned = {"x": [data, f"before {one} after", {two: (one, two + one)}]}
    rest = json.dumps(secrets.scrub(poisoned), ensure_ascii=False).replace(json.dumps(SCRUBBED)[1:-1], "")
    written = [json.dumps(word, ensure_ascii=False)[1:-1] for word in (one, two)]
    punctuation = set('[]{}":, xbeforeaftrnulltruefalse\\0123456789-')
    assert not any(word in rest for word in written if not set(word) <= punctuation)


@pytest.mark.slow
@given(DATA)
def test_scrub_keeps_data_without_passwords(data: object) -> None:
    assert Secrets("\ue000 no text has this \ue001").scrub(data) == data


@pytest.mark.parametrize("password", ["hunter2", "hunter2/x", "hunter2@x", "a/hunter2@b:c"])
def test_scrub_replaces_unknown_passwords_in_urls(password: str) -> None:
    scrubbed = Secrets().scrub({"url": f"at 'https://me:{password}@mirror.lan/x', and http://mirror.lan:80/y"})
    assert scrubbed == {"url": f"at 'https://{SCRUBBED}@mirror.lan/x', and http://mirror.lan:80/y"}


def test_records_contain_only_listed_values(tmp_path: Path) -> None:
    secret = "hunter2"  # noqa: S105 - a test password
    record = Record(tmp_path / "records", "deploy", Secrets())
    record.write_inventory(
        [
            member(
                ollama_environment={"AWS_SECRET_ACCESS_KEY": secret},
                comfyui_arguments=f"--api-key {secret}",
                OPENAI_KEY=secret,
                noslop_artifact_mirror=f"https://me:a/{secret}@x@mirror.lan/",
                noslop_storage_root="/mnt/noslop",
            )
        ]
    )
    environment = f'OPENAI_KEY="{secret}"\nNOSLOP_STUDIO_ID="abc"\n# {secret}\nHF={secret}\n'
    content = base64.b64encode(environment.encode()).decode()
    record.write_event("configure", event({"source": records.NODE_ENV, "content": content}))
    leaks = {
        "cmd": ["serve", "--api-key", secret],
        "stdout": secret,
        "msg": secret,
        "diff": {"after": secret},
        "invocation": {"module_args": {"environment": secret}},
        "results": [{"item": secret, "msg": secret, "rc": 0}],
    }
    record.write_event("services", event({**leaks, "changed": True, "rc": 0}))
    record.write_event(
        "services", event({"msg": "no room", "cmd": secret, "results": [{"item": secret, "rc": 1}]}, "failed")
    )
    record.finish(0, "", "0.1")
    files = {path.name: path.read_text(encoding="utf-8") for path in record.path.rglob("*") if path.is_file()}
    assert {name for name, text in files.items() if secret in text} == set()
    assert files["one.env"] == 'NOSLOP_STUDIO_ID="abc"\n'
    assert "/mnt/noslop" in files["inventory.json"]
    assert "no room" in files["events.jsonl"]


def test_last_three_records_of_each_command_are_kept(tmp_path: Path) -> None:
    for day, command in enumerate(["deploy", *["verify"] * 5, *["deploy"] * 3], 1):
        path = tmp_path / f"2026-01-{day:02}T000000Z"
        (path / "inventory").mkdir(parents=True)
        (path / "outcome.json").write_text(json.dumps({"command": command}), encoding="utf-8")
    (tmp_path / "2026-01-10T000000Z").mkdir()  # a record of a killed command
    running = Record(tmp_path, "deploy", Secrets())
    running.finish(0, "", "0.1")
    days = {path.name[8:10] for path in tmp_path.iterdir() if path != running.path}
    assert days == {"04", "05", "06", "08", "09", "10"}
    assert running.path.exists()
    assert not list(tmp_path.glob("*/inventory"))


def test_deployments_with_nothing_to_do_displace_no_record_of_a_verification(tmp_path: Path) -> None:
    whole = Record(tmp_path, "deploy", Secrets())
    whole.add_phase("verify", Outcome(status=Status.OK, rc=0), 1.0)
    whole.write_verification({"ok": True})
    whole.finish(0, "", "1")
    for _ in range(2 * records.KEPT_RECORDS):
        record = Record(tmp_path, "deploy", Secrets())
        record.add_phase(records.LOOK, Outcome(status=Status.OK, rc=0), 1.0)
        record.finish(0, "", "1")

    assert len(list(tmp_path.iterdir())) == records.KEPT_RECORDS + 1
    latest = records.find_latest(tmp_path, having="verification.json")
    assert latest is not None
    assert latest[0] == whole.path


def test_only_the_node_environment_file_is_read() -> None:
    assert records.read_node_environment(event({"source": "/etc/hostname", "content": "aG9zdA=="})) is None
    assert records.read_node_environment(event({"source": records.NODE_ENV, "content": "%%%"})) is None
    assert records.read_node_environment(event({"source": records.NODE_ENV}, kind="failed")) is None


def test_find_latest_returns_the_newest_record_with_the_requested_file(tmp_path: Path) -> None:
    for name, command, files in [
        ("2026-01-01T000000Z", "deploy", ["verification.json"]),
        ("2026-01-02T000000Z", "verify", []),
        ("2026-01-03T000000Z", "deploy", []),
    ]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "outcome.json").write_text(json.dumps({"command": command}), encoding="utf-8")
        for file in files:
            (tmp_path / name / file).write_text("{}", encoding="utf-8")
    (tmp_path / "2026-01-04T000000Z").mkdir()  # a record of a killed command

    def find_newest(**arguments: str) -> str:
        record = records.find_latest(tmp_path, **arguments)
        assert record
        return record[0].name

    assert find_newest() == "2026-01-03T000000Z"
    assert find_newest(command="verify") == "2026-01-02T000000Z"
    assert find_newest(having="verification.json") == "2026-01-01T000000Z"
    assert records.find_latest(tmp_path, command="teardown") is None


def test_repr_of_secrets_has_no_password() -> None:
    assert SSH_PASSWORD not in repr(SECRETS)
    assert SUDO_PASSWORD not in str(SECRETS)


def test_password_file_is_read_with_a_warning_if_others_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(f"{SSH_PASSWORD}\nsecond line\n", encoding="utf-8")
    path.chmod(0o600)
    assert read_password_file(path, "--pass-file") == (SSH_PASSWORD, "")
    path.chmod(0o644)
    password, warning = read_password_file(path, "--pass-file")
    assert password == SSH_PASSWORD
    assert "chmod 600" in warning
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"--pass-file .*empty"):
        read_password_file(path, "--pass-file")
    with pytest.raises(UsageError, match=r"--become-pass-file .*cannot be read"):
        read_password_file(tmp_path / "nothing", "--become-pass-file")


def test_ask_password_needs_a_terminal() -> None:
    with pytest.raises(UsageError, match="--pass-file"):
        ask_password("? ", "--ask-pass", "--pass-file", interactive=False)


def test_private_directory_is_closed_to_others_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    used: list[Path] = []

    def use() -> None:
        with private_directory("noslop-") as path:
            used.append(path)
            assert path.stat().st_mode & 0o777 == 0o700
            assert write_private(path / "password", SSH_PASSWORD).stat().st_mode & 0o777 == 0o600
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    assert used[0].parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_private_directory_of_a_killed_run_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    program = (
        "import os, signal\n"
        "from noslop_driver.secrets import private_directory\n"
        "with private_directory('noslop-run-'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=False)
    (abandoned,) = tmp_path.iterdir()
    with private_directory("noslop-run-") as first:
        assert not abandoned.exists()
        with private_directory("noslop-run-"):
            assert first.exists()  # this one's process lives
