# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and change the state of several systemd units in one call, and record the changes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: The properties of ``systemctl show`` that :func:`parse_show` reads.
PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload", "Result")


class SystemdError(Exception):
    """A command to systemd failed. The message contains the command and its output."""


@dataclass(frozen=True)
class Unit:
    """State of one unit, with systemd's own values."""

    name: str
    load: str = "not-found"
    active: str = "inactive"
    enabled: str = ""
    stale: bool = False
    result: str = ""

    @property
    def is_active(self) -> bool:
        """Return whether it runs, or is starting."""
        return self.active in ("active", "activating", "reloading")


class Systemd:
    """Run ``systemctl``, and record the changes; in check mode only record them."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.changes: list[str] = []

    def show(self, names: Sequence[str]) -> dict[str, Unit]:
        """Return the state of the units, by name. A unit that does not exist has ``load`` ``not-found``."""
        if not names or not os.path.isdir("/run/systemd/system"):
            return {name: Unit(name) for name in names}
        command = ["systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", *names]
        code, out, err = self.module.run_command(command)
        if code != 0:
            raise SystemdError(f"{' '.join(command)}: {(err or out).strip()}")
        return parse_show(names, out)

    def do(self, verb: str, *names: str) -> None:
        """Run ``systemctl VERB NAMES`` and record it as a change. Does nothing without names."""
        if not names:
            return
        self.changes.append(" ".join(["systemctl", verb, *names]))
        if not self.module.check_mode:
            self._run(verb, *names)

    def reload_manager(self) -> None:
        """Reload the unit files. Restarts nothing, and so is not recorded as a change."""
        if not self.module.check_mode:
            self._run("daemon-reload")

    def _run(self, verb: str, *names: str) -> None:
        command = ["systemctl", *verb.split(), *(["--", *names] if names else [])]
        code, out, err = self.module.run_command(command)
        if code != 0:
            raise SystemdError(f"{' '.join(command)}: {(err or out).strip()}{self._journal(names)}")

    def _journal(self, names: Sequence[str]) -> str:
        journals = [self.recent_journal(name) for name in names]
        return "".join(f" | {words}" for words in journals if words)

    def recent_journal(self, name: str) -> str:
        """Return the last lines of a unit's journal, as one line."""
        _code, out, _err = self.module.run_command(
            ["journalctl", "--boot", "--no-pager", "--output=cat", "--lines=6", f"--unit={name}"]
        )
        return " / ".join(dict.fromkeys(line.strip() for line in out.splitlines() if line.strip()))


def parse_properties(block: str) -> dict[str, str]:
    """Return the properties in one unit's block of the output of ``systemctl show``."""
    return {name: value for name, equals, value in (line.partition("=") for line in block.splitlines()) if equals}


def parse_show(names: Sequence[str], text: str) -> dict[str, Unit]:
    """Parse the output of ``systemctl show``: one block for each unit, in the order of ``names``."""
    units = {name: Unit(name) for name in names}
    for name, block in zip(names, text.strip().split("\n\n")):
        properties = parse_properties(block)
        units[name] = Unit(
            name,
            load=properties.get("LoadState", ""),
            active=properties.get("ActiveState", ""),
            enabled=properties.get("UnitFileState", ""),
            stale=properties.get("NeedDaemonReload") == "yes",
            result=properties.get("Result", ""),
        )
    return units
