# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop units and programs that use a directory, record how they ran, and start them again after a failure."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ansible_collections.noslop.studio.plugins.module_utils.host import processes
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import parse_properties

#: Runs a command with this environment added; returns exit code, output, errors (AnsibleModule.run_command).
Command = Callable[[list[str], "dict[str, str] | None"], "tuple[int, str, str]"]


class StopError(Exception):
    """A unit or program does not stop. The message is for the user who has to stop it."""


@dataclass(frozen=True)
class Unit:
    """A service unit; ``user`` names the account whose own service manager runs it, if it is not the system's."""

    name: str
    user: str = ""
    active: bool = False
    enabled: bool = False
    main_pid: int = 0

    def describe(self) -> str:
        """Return the unit's name for messages."""
        return f"unit {self.name}" + (f" of {self.user}" if self.user else "")


@dataclass
class Stopper:
    """The units and programs that were stopped, for starting them again."""

    run: Command
    units: list[Unit] = field(default_factory=list)
    programs: list[processes.Process] = field(default_factory=list)

    def read_unit(self, name: str, user: str = "") -> Unit | None:
        """Return the current state of a unit; ``None`` where none has that name."""
        code, out, __ = self._systemctl(user, "show", "-p", "LoadState,ActiveState,UnitFileState,MainPID", name)
        properties = parse_properties(out)
        if code != 0 or properties.get("LoadState", "not-found") == "not-found":
            return None
        active = properties.get("ActiveState") in ("active", "activating", "reloading")
        enabled = properties.get("UnitFileState", "").startswith("enabled")
        return Unit(name, user, active, enabled, int(properties.get("MainPID") or 0))

    def plan_stop(self, names: Iterable[str], directory: str | None) -> list[str]:
        """Return what :meth:`stop` would stop or disable."""
        units, programs = self._find_running(names, directory)
        return [unit.describe() for unit in units] + [program.describe() for program in programs]

    def stop(self, names: Iterable[str], directory: str | None) -> list[str]:
        """Stop and disable the named units, and the programs that run from a directory: by unit where they have one.

        Unit files stay on disk: their owner can enable them again.

        Raises:
            StopError: one does not stop, or is started again.
        """
        units, programs = self._find_running(names, directory)
        for unit in units:
            self._stop_unit(unit)
            self.units.append(unit)
        for program in programs:
            if not processes.stop(program):
                raise StopError(f"{program.describe()} does not end. Stop it by hand, then run again.")
            self.programs.append(program)
        for program in processes.find_running_from(directory) if directory else []:
            starter = program.unit or program.user_unit
            raise StopError(
                f"{program.describe()} was started again after it was stopped{f', by {starter}' if starter else ''}. "
                "Stop and disable what starts it, then run again."
            )
        return [unit.describe() for unit in units] + [program.describe() for program in programs]

    def start_again(self) -> list[str]:
        """Start and enable what was stopped. Returns what could not be started."""
        failed = []
        for unit in self.units:
            for wanted, word in ((unit.enabled, "enable"), (unit.active, "start")):
                if wanted and self._systemctl(unit.user, word, unit.name)[0] != 0:
                    failed.append(unit.describe())
        for program in self.programs:
            try:
                processes.start_again(program)
            except OSError:
                failed.append(program.describe())
        self.units, self.programs = [], []
        return failed

    def _find_running(self, names: Iterable[str], directory: str | None) -> tuple[list[Unit], list[processes.Process]]:
        """Return the units to stop, and the processes that belong to none of them."""
        units = {(name, ""): self.read_unit(name) for name in names}
        programs = []
        for process in processes.find_running_from(directory) if directory else []:
            user = processes.look_up_user_name(process.account.uid) if process.user_unit else ""
            key = (process.unit or process.user_unit, user)
            if key not in units:
                units[key] = self._unit_of(process, directory, key)
            if units[key] is None:
                programs.append(process)
        return [unit for unit in units.values() if unit and (unit.active or unit.enabled)], programs

    def _unit_of(self, process: processes.Process, directory: str | None, key: tuple[str, str]) -> Unit | None:
        """Return the unit that exists to run a process; ``None`` where it only contains it, like a login session's."""
        unit = self.read_unit(*key) if key[0] else None
        if unit is None or not unit.main_pid or directory is None:
            return None
        if unit.main_pid == process.pid:
            return unit
        main = processes.read(unit.main_pid)
        return unit if main is not None and processes.mentions(main, directory) else None

    def _stop_unit(self, unit: Unit) -> None:
        self._systemctl(unit.user, "disable", unit.name)  # fails for a unit without [Install], and is not needed there
        code, out, err = self._systemctl(unit.user, "stop", unit.name)
        if code != 0:
            why = (err or out).strip()
            raise StopError(f"{unit.describe()} does not stop: {why}. Stop it by hand, then run again.")

    def _systemctl(self, user: str, *words: str) -> tuple[int, str, str]:
        if not user:
            return self.run(["systemctl", *words], None)
        try:
            runtime = f"/run/user/{pwd.getpwnam(user).pw_uid}"
        except KeyError:
            return 1, "", f"there is no account {user}"
        bus = {"XDG_RUNTIME_DIR": runtime, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={os.path.join(runtime, 'bus')}"}
        return self.run(["runuser", "-u", user, "--", "systemctl", "--user", *words], bus)
