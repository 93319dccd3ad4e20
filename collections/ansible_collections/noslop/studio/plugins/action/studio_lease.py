# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe this run to the module of the same name, and decide whether the process of another run has ended."""

from __future__ import annotations

import getpass
import os
import socket
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.noslop.studio.plugins.module_utils.host.lease import Run

#: Set by the driver for each playbook of its command: the run is the driver's, not that of one ansible-playbook. The
#: value is the driver's process id and start time, since the lease of a driver that was killed is released afterwards.
DRIVER = "NOSLOP_DRIVER"


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Run the module, and run it again to replace the lease of a run of this controller that has ended."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what the module returned."""
        super().run(tmp, task_vars)
        driver = os.environ.get(DRIVER, "").split()
        arguments = dict(self._task.args)
        last = str(arguments.get("last", True)).lower() not in ("false", "no", "0")
        if driver and arguments.get("state") == "released" and not last:
            return {"changed": False}
        arguments["run"] = asdict(describe_own())
        result: dict[str, Any] = self._execute_module(module_args=arguments, task_vars=task_vars)
        other = result.get("lease")
        if other and has_ended(Run(**other["run"]), other["renewed"]):
            result = self._execute_module(
                module_args={**arguments, "replaces": other["run"]["run"]}, task_vars=task_vars
            )
        return result


def describe_own() -> Run:
    """Describe the run that this worker of ansible-playbook belongs to: the driver's command, or ansible-playbook."""
    driver = os.environ.get(DRIVER, "").split()
    # A worker's parent is ansible-playbook.
    pid = int(driver[0]) if driver else os.getppid()
    return describe(pid, driver[1] if len(driver) > 1 else _start_time(pid))


def describe(pid: int, start_time: str) -> Run:
    """Describe the run of a process of this computer."""
    own = _identity()
    return Run(
        run=f"{own['machine']}/{own['boot']}/{own['namespace']}/{pid}/{start_time}",
        holder=f"{_account()}@{socket.gethostname()}",
        pid=pid,
        start_time=start_time,
        **own,
    )


def has_ended(run: Run, renewed: float) -> bool:
    """Return whether a run's process has certainly ended: it ran on this computer, and does not exist any more.

    Args:
        run: the run that has the lease.
        renewed: when it last renewed it, in seconds since 1970.
    """
    own = _identity()
    if run.machine != own["machine"]:
        return False
    if run.boot != own["boot"]:
        # A clone of this computer has another boot id too, and its run may still be active.
        return renewed < _boot_time()
    if run.namespace != own["namespace"]:
        return False
    try:
        os.kill(run.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _start_time(run.pid) != run.start_time


def _identity() -> dict[str, str]:
    """Return the identity of this computer, of its start and of the pid namespace of this process."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return {
        "machine": f"{_text('/etc/machine-id') or f'{uuid.getnode():x}'}@{socket.gethostname()}",
        "boot": _text("/proc/sys/kernel/random/boot_id"),
        "namespace": namespace,
    }


def _account() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # the account has no name
        return str(os.getuid())


def _start_time(pid: int) -> str:
    """Return the start time of a process, in ticks since boot (proc_pid_stat(5)); empty where it cannot be read."""
    fields = _text(f"/proc/{pid}/stat").rpartition(") ")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _boot_time() -> float:
    """Return the start time of this computer, in seconds since 1970; 0 where it cannot be read."""
    lines = (line.split() for line in _text("/proc/stat").splitlines())
    return next((float(line[1]) for line in lines if line[0] == "btime"), 0.0)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
