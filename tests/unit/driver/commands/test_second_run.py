# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a second deployment: with a real ansible-playbook on hosts that are this computer, which return a look."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from rich.console import Console

from noslop_driver.ansible.inventory_list import list_inventory
from noslop_driver.commands import second_run
from noslop_driver.commands.options import Options
from noslop_driver.commands.second_run import Recording
from noslop_driver.hosts import deployed_run
from noslop_driver.hosts.login import Login
from noslop_driver.inventory import fingerprint
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import DEPLOYMENT, SERVICES, VERIFY
from noslop_driver.planning.second_run import Need
from tests.support import driver_cli
from tests.support.plays import local_inventory, write_playbook


def make_terminal() -> tuple[Terminal, io.StringIO]:
    terminal, text = Terminal(), io.StringIO()
    terminal.out = terminal.err = Console(file=text, width=200, color_system=None, highlight=False)
    return terminal, text


class Deployed:
    """A studio of two hosts, and what they return when they are looked at."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = local_inventory(directory / "studio", ["one", "two"], ansible_become=False)
        group_vars = self.path / "group_vars/all"
        group_vars.mkdir(parents=True)
        self.settings = group_vars / "studio.yml"
        self.settings.write_text("noslop_studio_id: abc\nnoslop_storage_provider: local\n", encoding="utf-8")
        groups = {
            "comfyui": {"hosts": {"one": {"noslop_address": "10.0.0.1"}}},
            "storage_server": {"hosts": {"one": {}}},
        }
        (self.path / "groups.yml").write_text(json.dumps(groups), encoding="utf-8")
        self.studio = StudioDirectory(self.path)
        self.studio.make_state_dir()
        self.results = {host: self._make_result(host) for host in ("one", "two")}
        self._directory = directory
        monkeypatch.setattr(deployed_run, "PLAYBOOK", str(directory / "compare.yml"))

    def _make_result(self, host: str) -> dict[str, Any]:
        checks = Checks(host)
        checks.add("deployed.units", True, seen="3 as they were", expected="as it was", todo="deploy")
        made = dict(fingerprint.make(list_inventory(self.path), self.studio))
        return {"deployment": "abc", "fingerprint": made, "finished": "2026-01-01T00:00:00Z", "checks": checks.list}

    def write_playbook(self) -> None:
        task = {"name": "Compare", "return_result": {"result": "{{ looks[inventory_hostname] }}"}}
        write_playbook(self._directory, task, name="compare.yml", vars={"looks": self.results})

    def break_unit(self, host: str) -> None:
        checks = Checks(host)
        checks.add("deployed.units", False, seen="noslop-x.timer is missing", expected="as it was", todo="deploy")
        self.results[host]["checks"] = checks.list

    def look(self) -> tuple[second_run.Look | None, str]:
        self.write_playbook()
        terminal, text = make_terminal()
        look = second_run.look_where_possible(Options(), self.studio, Login("artist"), terminal)
        return look, text.getvalue()


@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    return Deployed(tmp_path, monkeypatch)


@pytest.mark.slow
def test_second_deployment_runs_nothing_and_prints_the_addresses(deployed: Deployed) -> None:
    deployed.write_playbook()
    output, done = driver_cli.run_json("deploy", "--inventory", str(deployed.path), "--yes")

    assert (done.returncode, output["plan"], output["phases"]) == (0, None, [])
    assert "Nothing to do: every host is as the inventory says (2 checks on 2 hosts)." in done.stderr
    assert "http://10.0.0.1:8188" in done.stderr
    assert (output["look"]["need"], sorted(output["look"]["hosts"])) == ("nothing", ["one", "two"])
    record = Path(output["record"])
    outcome = json.loads((record / "outcome.json").read_text("utf-8"))
    assert (outcome["command"], outcome["ok"], [phase["phase"] for phase in outcome["phases"]]) == (
        "deploy",
        True,
        ["look"],
    )
    assert json.loads((record / "look.json").read_text("utf-8")) == output["look"]
    assert "Nothing to do" in (record / "run.log").read_text("utf-8")


def test_drift_is_shown_as_a_table_and_everything_is_run(deployed: Deployed) -> None:
    deployed.break_unit("two")
    look, text = deployed.look()

    assert look is not None
    assert look.decision.need is Need.DRIFT
    assert "two   deployed.units  noslop-x.timer is missing" in text
    assert "Everything is to be run: two changed since the last deployment." in text


def test_changed_variable_is_a_changed_inventory(deployed: Deployed) -> None:
    deployed.settings.write_text(deployed.settings.read_text() + "noslop_min_free_gb: 7\n", encoding="utf-8")
    look, text = deployed.look()

    assert look is not None
    assert look.decision.need is Need.EVERYTHING
    assert "the inventory has changed since the last deployment" in text


@pytest.mark.long
def test_host_without_a_record_and_one_that_does_not_answer_need_everything(deployed: Deployed) -> None:
    deployed.results["two"] = {"deployment": "", "fingerprint": {}, "finished": "", "checks": []}
    assert "no record of a whole deployment on two" in deployed.look()[1]
    away = {"all": {"hosts": {"two": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}}}}
    (deployed.path / "zz.yml").write_text(json.dumps(away), encoding="utf-8")
    look, text = deployed.look()
    assert look is not None
    assert look.decision.need is Need.EVERYTHING
    assert "could not be compared: two (" in text


def test_no_host_is_contacted_where_the_inventory_computes_a_variable(deployed: Deployed) -> None:
    deployed.settings.write_text(
        deployed.settings.read_text() + "x: \"{{ lookup('env', 'HOME') }}\"\n", encoding="utf-8"
    )
    look, text = deployed.look()
    assert look is not None
    assert "the inventory computes x anew in each run" in text
    assert look.as_data()["hosts"] == []


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({}, False),
        ({"settings": {"storage_provider": "local"}}, False),
        ({"settings": {"storage_provider": "nfs"}}, True),
        ({"settings": {"min_free_gb": 7.0}}, True),
        ({"settings": {"roles": {"one": ["ollama"]}}}, True),
        ({"full": True}, True),
        ({"check": True}, True),
        ({"limit": "one"}, True),
        ({"hosts": ["10.0.0.9"]}, True),
        ({"networks": ["10.0.0.0/24"]}, True),
        ({"again": True}, True),
        ({"config_file": Path("settings.yml")}, True),
    ],
)
def test_options_that_ask_for_more_than_an_update_look_at_nothing(options: Mapping[str, Any], more: bool) -> None:
    settings = {"studio_id": "abc", "storage_provider": "local"}
    assert second_run.asks_for_more(Options(**options), settings) is more


def test_another_key_than_that_of_the_inventory_is_more_than_an_update(deployed: Deployed, tmp_path: Path) -> None:
    variables = {"ansible_ssh_private_key_file": str(tmp_path / "key")}
    (deployed.path / "group_vars/all/connection.yml").write_text(json.dumps(variables), encoding="utf-8")
    deployed.write_playbook()
    for key, is_looked_at in ((tmp_path / "key", True), (tmp_path / "other", False)):
        options = Options(ssh_key=key)
        look = second_run.look_where_possible(options, deployed.studio, Login("artist"), make_terminal()[0])
        assert (look is not None) is is_looked_at


def test_new_studio_is_not_looked_at(tmp_path: Path) -> None:
    studio = StudioDirectory(tmp_path / "new")
    assert second_run.look_where_possible(Options(), studio, Login("artist"), make_terminal()[0]) is None


def test_only_the_verification_records_and_each_deployment_has_an_identity(deployed: Deployed) -> None:
    recording = Recording(deployed.studio)
    assert [bool(recording(phase)) for phase in DEPLOYMENT] == [False] * (len(DEPLOYMENT) - 1) + [True]
    first, second = recording(VERIFY), recording(VERIFY)
    assert first["studio_verify_fingerprint"] == deployed.results["one"]["fingerprint"]
    assert first["studio_verify_deployment"] != second["studio_verify_deployment"]
    assert recording(SERVICES) == {}


def test_file_that_the_run_itself_made_is_in_the_recorded_fingerprint(deployed: Deployed) -> None:
    recording = Recording(deployed.studio)
    (deployed.path / "comfyui-x.lock.txt").write_text("torch==2\n")
    recorded = recording(VERIFY)["studio_verify_fingerprint"]
    assert recorded == fingerprint.make(list_inventory(deployed.path), deployed.studio)
    assert recorded != deployed.results["one"]["fingerprint"]


@pytest.mark.parametrize("text", ["noslop_studio_id: other\n", "{broken", "x: '{{ now() }}'\n"])
def test_inventory_that_changed_during_the_run_is_not_recorded(deployed: Deployed, text: str) -> None:
    recording = Recording(deployed.studio)
    deployed.settings.write_text(text, encoding="utf-8")
    assert recording(VERIFY) == {}
