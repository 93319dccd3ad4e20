# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a studio whose hosts are this computer, and return the checks and the evidence that a test planted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check
from ansible_collections.noslop.studio.plugins.plugin_utils import reports

from noslop_driver import phases
from noslop_driver.commands import doctor, doctor_fix
from noslop_driver.inventory.directory import StudioDirectory
from tests.support.doctor_cases import HOSTS, Planted, make_healthy
from tests.support.plays import local_inventory, write_playbook


class DoctorStudio:
    """A server and two workers. What they return is read anew from a file in each verification."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = local_inventory(directory / "studio", list(HOSTS), ansible_become=False)
        groups: dict[str, dict[str, Any]] = {}
        for name, (address, names) in HOSTS.items():
            for group in names:
                groups.setdefault(group, {"hosts": {}})["hosts"][name] = {"noslop_address": address}
        (self.path / "groups.yml").write_text(json.dumps(groups), encoding="utf-8")
        self.settings = self.path / "group_vars/all/studio.yml"
        self.settings.parent.mkdir(parents=True)
        self.settings.write_text("noslop_studio_id: abc\nnoslop_storage_provider: nfs\n", encoding="utf-8")
        self.studio = StudioDirectory(self.path)
        self.studio.make_state_dir()
        self._state, self.steps = directory / "state.json", directory / "steps.json"
        self.plant(make_healthy())
        plays = directory / "plays"
        # A template that is read from a file is no template of the play, as what hosts return.
        state = f"{{{{ lookup('ansible.builtin.file', '{self._state}') | from_json }}}}"
        tasks: list[dict[str, Any]] = [
            {
                "name": "Gather",
                "return_result": {"result": {"evidence": "{{ state.evidence[inventory_hostname] | default({}) }}"}},
                "when": "inventory_hostname in state.evidence",
            },
            {"name": "Report", "return_result": {"result": {reports.KEY: "{{ state.report }}"}}, "run_once": True},
            {
                "name": "Fail",
                "ansible.builtin.assert": {"that": "state.report.ok"},
                "run_once": True,
            },
        ]
        examine = write_playbook(plays, *tasks, name="examine.yml", vars={"state": state})
        written = {"dest": str(self.steps), "content": "{{ noslop_repair_steps | to_json }}"}
        copied = {"src": str(directory / "mended.json"), "dest": str(self._state)}
        repair = write_playbook(
            plays,
            {"name": "Write the steps", "ansible.builtin.copy": written, "run_once": True},
            {"name": "Mend", "ansible.builtin.copy": copied, "run_once": True},
            name="repair.yml",
        )
        self._mended = directory / "mended.json"
        self._mended.write_text(self._state.read_text("utf-8"), encoding="utf-8")
        monkeypatch.setattr(phases, "CHECK_ACTION", "return_result")
        monkeypatch.setattr(doctor, "EXAMINE", replace(phases.EXAMINE, playbook=str(examine)))
        monkeypatch.setattr(doctor_fix, "REPAIR", replace(phases.REPAIR, playbook=str(repair), changes=False))

    def plant(self, evidence: Planted, failed: Sequence[Check] = (), *, mended: bool = False) -> None:
        """Plant what the next verification returns, or that after a repair."""
        passed = {"host": "server", "check": "server.ports", "share": "", "ok": True}
        checks = [*failed, {**passed, "seen": "tcp 2049", "expected": "tcp 2049", "todo": ""}]
        report = {"version": reports.VERSION, "ok": not failed, "studio_id": "abc", "finished": "", "checks": checks}
        text = json.dumps({"evidence": evidence, "report": report})
        (self._mended if mended else self._state).write_text(text, encoding="utf-8")

    def read_records(self) -> list[dict[str, Any]]:
        """Return the outcomes of all records, the oldest first."""
        paths = sorted(self.studio.records.glob("*/outcome.json"))
        return [json.loads(path.read_text("utf-8")) for path in paths]
