# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the comparison of a plan with a studio, by a real ansible-playbook on hosts that are this computer."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks

from noslop_driver.ansible.inventory_list import list_inventory
from noslop_driver.cli.main import app
from noslop_driver.hosts import deployed_run
from noslop_driver.hosts.known_hosts import KnownHosts
from noslop_driver.inventory import fingerprint
from noslop_driver.inventory.directory import CONNECTION, HOSTS, MORE_HOSTS, STUDIO, StudioDirectory
from noslop_driver.inventory.render import Connection
from noslop_driver.models import Candidate, Host, Plan, Proposal, StudioSettings
from tests.support.driver_cli import Done, run, run_json
from tests.support.plays import write_playbook
from tests.unit.conftest import StartSshd

ROLES = {
    "server": ["storage_server", "backend"],
    "worker1": ["storage_clients", "ollama", "comfyui"],
    "worker2": ["storage_clients", "comfyui"],
}
WEBHOOK = "https://hooks.example.com/services/secret-part-of-it"


class Studio:
    """A studio that the driver wrote, whose hosts are this computer and return a look; or are away."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, away: Sequence[str] = ()) -> None:
        self._directory = directory
        self.path = directory / "inventories/studio"
        self.studio = StudioDirectory(self.path)
        addresses = {name: f"10.0.0.{number}" for number, name in enumerate(ROLES, 1)}
        hosts = [Host(name=name, address=address, port=1, user="artist") for name, address in addresses.items()]
        proposals = [
            Proposal.model_validate({"host": name, "score": 50, "roles": roles, "reasons": []})
            for name, roles in ROLES.items()
        ]
        settings = StudioSettings(studio_id="abc", monitor_webhook={"url": WEBHOOK, "format": "json"}, users=["ann"])
        plan = Plan(hosts=hosts, proposals=proposals, server="server", settings=settings, problems=[])
        self.studio.write(plan, Connection())
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        closed = {"ansible_host": "127.9.9.1", "ansible_port": 1}
        variables = {name: closed if name in away else local for name in ROLES}
        (self.path / "zz.yml").write_text(json.dumps({"all": {"hosts": variables}}), encoding="utf-8")
        self.looks: dict[str, dict[str, Any]] = {}
        self.deployed()
        monkeypatch.setattr(deployed_run, "PLAYBOOK", str(directory / "compare.yml"))

    def deployed(self) -> None:
        """Let each host return that nothing changed since a deployment of the inventory as it is now."""
        now = dict(fingerprint.make(list_inventory(self.path), self.studio))
        for host in ROLES:
            checks = Checks(host)
            checks.add("deployed.units", True, seen="3 as they were", expected="as it was", todo="deploy")
            self.looks[host] = {"deployment": "a", "fingerprint": now, "finished": "", "checks": checks.list}

    def break_unit(self, host: str) -> None:
        """Let a host return that a unit of it is gone."""
        checks = Checks(host)
        checks.add("deployed.units", False, seen="noslop-x.timer is missing", expected="as it was", todo="deploy")
        self.looks[host]["checks"] = checks.list

    def compare(self, *words: str) -> tuple[dict[str, Any], Done]:
        """Run the comparison, which must write nothing, and return its result and what it printed."""
        task = {"name": "Compare", "return_result": {"result": "{{ looks[inventory_hostname] }}"}}
        write_playbook(self._directory, task, name="compare.yml", vars={"looks": self.looks})
        before = read_tree(self.path)
        output, done = run_json("plan", "--diff", "--inventory", str(self.path), *words)
        assert read_tree(self.path) == before
        return output, done


def read_tree(path: Path) -> dict[Path, tuple[int, bytes]]:
    """Return the time and the content of everything below a directory."""
    entries = sorted(path.rglob("*"))
    return {entry: (entry.stat().st_mtime_ns, entry.read_bytes() if entry.is_file() else b"") for entry in entries}


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    return Studio(tmp_path, monkeypatch)


@pytest.mark.slow
def test_nothing_is_to_do_where_plan_inventory_and_hosts_agree(studio: Studio) -> None:
    output, done = studio.compare("--exit-code")
    assert (done.returncode, output["different"], output["changes"], output["deploy"]) == (0, False, [], "")
    assert output["look"]["need"] == "nothing"
    assert output["summary"] == "Nothing to do: every host is as the inventory says (3 checks on 3 hosts)."
    assert done.stderr.rstrip().endswith(output["summary"])


@pytest.mark.slow
def test_changed_settings_and_roles_are_named_with_file_and_variable(studio: Studio) -> None:
    words = ["--min-free-gb", "7", "--role", "worker2=ollama", "--share-user", "ann", "--share-user", "bob"]
    output, done = studio.compare(*words)
    assert done.returncode == 0
    shown = [(change["file"], change["variable"], change["old"], change["new"]) for change in output["changes"]]
    assert shown == [
        (HOSTS, "", "storage_clients, comfyui", "storage_clients, ollama"),
        (STUDIO, "noslop_min_free_gb", "50", "7"),
        (STUDIO, "noslop_users", "[ann]", "[ann, bob]"),
    ]
    assert f"  {HOSTS}: worker2 does: storage_clients, comfyui -> storage_clients, ollama\n" in done.stderr
    assert f"  {STUDIO}: noslop_min_free_gb: 50 -> 7\n" in done.stderr
    assert f"since the plan changes {HOSTS}, {STUDIO}: noslop-driver deploy" in output["summary"]
    assert studio.compare(*words, "--exit-code")[1].returncode == 5


@pytest.mark.slow
def test_named_deployment_has_the_flags_of_the_comparison(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "a b.yml").write_text("noslop_min_free_gb: 7\n", encoding="utf-8")
    words = [
        "--config",
        str(tmp_path / "a b.yml"),
        "--no-smb",
        "--share-user",
        "ann",
        "--share-user",
        "bob",
        "-y",
        "-v",
    ]
    output, _done = studio.compare(*words, "--exit-code")
    given = shlex.split(output["deploy"])
    program = click.Context(app, **app.context_settings)
    context = app.commands["deploy"].make_context("deploy", given[2:], parent=program)
    assert given[:2] == ["noslop-driver", "deploy"]
    assert context.params["config_file"] == tmp_path / "a b.yml"
    assert (context.params["smb_enabled"], context.params["users"]) == (False, ("ann", "bob"))
    assert (context.params["diff"], context.params["yes"]) == (False, False)


@pytest.mark.slow
@pytest.mark.long
def test_drift_of_a_host_is_named_also_beside_a_changed_inventory(studio: Studio) -> None:
    studio.break_unit("worker1")
    output, done = studio.compare()
    drift = [{"host": "worker1", "check": "deployed.units", "share": "", "observed": "noslop-x.timer is missing"}]
    assert (done.returncode, output["different"], output["look"]["drift"]) == (0, True, drift)
    assert "worker1  deployed.units  noslop-x.timer is missing" in done.stderr
    assert "on server, worker1, worker2, since worker1 changed since the last deployment: " in output["summary"]
    text = (studio.path / STUDIO).read_text(encoding="utf-8")
    (studio.path / STUDIO).write_text(text.replace("min_free_gb: 50", "min_free_gb: 9"), encoding="utf-8")
    output, _done = studio.compare()
    assert (output["changes"], output["look"]["drift"]) == ([], drift)
    assert "since the inventory has changed since the last deployment: " in output["summary"]


@pytest.mark.slow
@pytest.mark.long
def test_host_that_is_away_is_named_and_the_others_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = Studio(tmp_path, monkeypatch, away=["worker2"])
    studio.break_unit("worker1")
    output, done = studio.compare("--exit-code")
    assert done.returncode == 4
    assert output["error"].startswith("worker2 could not be looked at")
    assert "nothing listens on port 1" in output["left_out"]["worker2"]
    assert [check["host"] for check in output["look"]["drift"]] == ["worker1"]
    assert "on server, worker1, since worker1 changed" in output["summary"]
    assert "worker2 could not be compared" in output["summary"]


@pytest.mark.slow
def test_host_on_which_the_look_fails_is_named_and_a_deployment_goes_on_there(studio: Studio) -> None:
    del studio.looks["worker2"]
    output, done = studio.compare()
    assert (done.returncode, output["different"]) == (4, False)
    assert output["left_out"]["worker2"].startswith("worker2 could not be compared: ")
    assert "on server, worker1, worker2, since worker2 could not be compared: " in output["summary"]


@pytest.mark.slow
def test_without_the_storage_server_a_deployment_would_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, done = Studio(tmp_path, monkeypatch, away=["server"]).compare("--min-free-gb", "7")
    assert done.returncode == 4
    assert output["different"]
    assert "would change nothing, since server could not be looked at" in output["summary"]


@pytest.mark.slow
def test_new_host_is_added_without_a_login(studio: Studio, sshd_server: StartSshd) -> None:
    server = sshd_server()
    output, done = studio.compare("--host", server.host)
    added, does, *rest = output["changes"]
    assert (added["kind"], added["host"], added["file"], added["new"]) == (
        "host added",
        server.address,
        HOSTS,
        server.address,
    )
    assert (does["old"], does["new"]) == ("nothing", "storage_clients, services that fit its hardware")
    assert not rest
    assert f"{server.address} is added" in done.stderr
    assert not any("publickey" in line for line in server.complete_log()), "there was no login"


@pytest.mark.slow
def test_member_at_another_address_is_a_changed_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sshd_server: StartSshd
) -> None:
    server = sshd_server()
    studio = Studio(tmp_path, monkeypatch, away=["worker2"])
    known = Candidate(address="127.9.9.1", port=1, host_keys=[server.public_key], status="open")
    KnownHosts(studio.studio.known_hosts).accept([known])
    output, _done = studio.compare("--host", server.host)
    shown = [(one["host"], one["variable"], one["old"], one["new"]) for one in output["changes"]]
    assert shown == [("worker2", "ansible_host", "127.9.9.1", server.address)]
    assert not any("publickey" in line for line in server.complete_log()), "there was no login"


@pytest.mark.slow
def test_groups_in_an_edited_file_are_changed_by_hand(studio: Studio, sshd_server: StartSshd) -> None:
    with (studio.path / HOSTS).open("a", encoding="utf-8") as file:
        file.write("# mine\n")
    output, done = studio.compare("--role", "worker1=ollama", "--host", sshd_server().host)
    shown = {(change["kind"], change["file"], change["by_hand"]) for change in output["changes"]}
    assert shown == {("roles", HOSTS, True), ("host added", MORE_HOSTS, False), ("roles", MORE_HOSTS, False)}
    assert "comfyui -> storage_clients, ollama (by hand" in done.stderr


@pytest.mark.slow
def test_variables_in_files_of_a_user_are_changed_by_hand_where_they_stand(studio: Studio) -> None:
    text = (studio.path / STUDIO).read_text(encoding="utf-8")
    (studio.path / STUDIO).unlink()
    (studio.path / "group_vars/all/own.yml").write_text(text, encoding="utf-8")
    (studio.path / "host_vars").mkdir()
    (studio.path / "host_vars/worker1.yml").write_text("noslop_min_free_gb: 9\n", encoding="utf-8")
    output, done = studio.compare("--min-free-gb", "7")
    (change,) = output["changes"]
    assert (change["file"], change["old"], change["new"]) == ("group_vars/all/own.yml", "50", "7")
    assert (change["also_in"], change["by_hand"]) == (["host_vars/worker1.yml"], True)
    assert "after you changed what is marked by hand" in done.stderr


@pytest.mark.slow
def test_only_what_was_asked_for_is_to_be_written_into_files_of_a_user(studio: Studio) -> None:
    (studio.path / STUDIO).unlink()
    own = studio.path / "group_vars/all/own.yml"
    own.write_text("noslop_studio_id: abc\n", encoding="utf-8")
    studio.deployed()
    output, _done = studio.compare()
    assert (output["different"], output["changes"]) == (False, [])
    (change,) = studio.compare("--min-free-gb", "7")[0]["changes"]
    assert (change["file"], change["variable"], change["by_hand"]) == (
        "group_vars/all/own.yml",
        "noslop_min_free_gb",
        True,
    )


@pytest.mark.slow
def test_edited_file_without_a_variable_is_no_difference(studio: Studio) -> None:
    lines = (studio.path / STUDIO).read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(("noslop_users", "noslop_allowed_networks"))]
    (studio.path / STUDIO).write_text("".join(kept), encoding="utf-8")
    studio.deployed()
    output, _done = studio.compare()
    assert (output["different"], output["changes"]) == (False, [])


@pytest.mark.slow
def test_secrets_in_settings_are_not_shown(studio: Studio, tmp_path: Path) -> None:
    other = WEBHOOK.replace("secret", "other")
    config = tmp_path / "config.yml"
    config.write_text(f"noslop_monitor_webhook: {{url: '{other}', format: json}}\n", encoding="utf-8")
    output, done = studio.compare("--config", str(config))
    assert [change["variable"] for change in output["changes"]] == ["noslop_monitor_webhook"]
    for secret in (WEBHOOK, other):
        assert secret not in done.stdout + done.stderr


@pytest.mark.slow
def test_other_key_is_a_changed_variable_of_the_connection(studio: Studio, sshd_server: StartSshd) -> None:
    key = str(sshd_server().client_key)
    (change,) = studio.compare("--ssh-key", key)[0]["changes"]
    assert (change["file"], change["variable"], change["old"], change["new"]) == (
        CONNECTION,
        "ansible_ssh_private_key_file",
        "not set",
        key,
    )


@pytest.mark.slow
def test_plan_that_cannot_be_deployed_names_the_problem(studio: Studio) -> None:
    output, done = studio.compare("--server", "worker9")
    assert done.returncode == 3
    assert [obstacle["kind"] for obstacle in output["obstacles"]] == ["unknown_host"]
    assert "worker9 was chosen for a part of the studio" in done.stderr
    assert output["summary"].startswith("A deployment would change nothing before the problem above is solved")


def test_new_studio_is_new_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("plan", "--diff", "--network", "10.0.0.0/24")
    assert done.returncode == 0
    assert done.stdout == (
        "Everything is new: inventories/studio has no inventory. To make the studio: noslop-driver deploy "
        "--network 10.0.0.0/24\n"
    )
    output, done = run_json("plan", "--diff", "--exit-code")
    assert (done.returncode, output["exists"], output["different"]) == (5, False, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--exit-code"], "add --diff"),
        (["--diff", "--save"], "leave one of them out"),
        (["--diff", "--limit", "one"], "leave out --limit"),
        (["--diff", "--storage-root", "relative"], "'relative' is not an absolute path"),
    ],
)
def test_flags_that_contradict_a_comparison_are_rejected(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("plan", *words)
    assert done.returncode == 2
    assert message in done.stderr
