# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the playbook `storage` on the lab's hosts with plain `ansible-playbook`: predicted, whole, or killed half-way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.lab.machines import ROOT

CALLBACKS = Path(__file__).parents[1] / "ansible_callbacks"


@dataclass(frozen=True)
class StorageStudio:
    """A studio of which these tests deploy the storage. `inventories` are merged; no host is touched beside `hosts`."""

    inventories: tuple[Path, ...]
    hosts: tuple[str, ...]

    def run(self, playbook: str, *words: str, callback: str = "", **variables: str) -> tuple[int, str]:
        """Run a playbook of the collection. Return the exit code and what was printed.

        Args:
            playbook: its name.
            words: options of `ansible-playbook`.
            callback: a callback of the tests to enable.
            variables: environment variables for it.
        """
        given = [f"--inventory={path}" for path in self.inventories]
        extra = {"ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS), "ANSIBLE_CALLBACKS_ENABLED": callback} if callback else {}
        with subprocess.Popen(
            ["ansible-playbook", *given, f"--limit={','.join(self.hosts)}", f"playbooks/{playbook}.yml", *words],
            cwd=ROOT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_NOCOLOR": "1",
                **extra,
                **variables,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            output, _ = process.communicate()
        return process.returncode, output

    def converge(self, playbook: str = "storage", *words: str) -> dict[str, list[str]]:
        """Run a playbook, and fail the test where it fails. Return the tasks that changed something, by host."""
        with tempfile.NamedTemporaryFile() as file:
            code, output = self.run(playbook, *words, callback="changed_tasks", NOSLOP_CHANGED_TASKS=file.name)
            assert code == 0, output
            changed: dict[str, list[str]] = json.loads(file.read())
        return changed

    def converge_killed(self, step: int) -> list[str]:
        """Run `storage` again and again, each time killed `step` tasks later than before, until a run ends.

        Each run continues what the one before left. So with a step of 1 every task is the last of one run.

        Returns:
            The task that each killed run ended with.
        """
        killed: list[str] = []
        while True:
            number = str(step * (len(killed) + 1))
            code, output = self.run("storage", callback="kill_after", NOSLOP_KILL_AFTER=number)
            if code == 0:
                return killed
            assert code == -signal.SIGKILL, f"after {killed}:\n{output}"
            killed.append(output.rpartition("killed after: ")[2].strip())


def write_inventory(path: Path, groups: Mapping[str, Iterable[str]], **variables: object) -> Path:
    """Write the groups of a studio as an inventory, to be merged with that of the lab's hosts."""
    content: dict[str, object] = {group: {"hosts": {host: {} for host in hosts}} for group, hosts in groups.items()}
    path.write_text(json.dumps({**content, "all": {"vars": variables}}), encoding="utf-8")
    return path


def compare_changes(predicted: Mapping[str, list[str]], made: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the tasks of which only one run reported a change, by host."""
    different = {
        host: sorted(set(predicted.get(host, [])) ^ set(made.get(host, []))) for host in set(predicted) | set(made)
    }
    return {host: names for host, names in different.items() if names}
