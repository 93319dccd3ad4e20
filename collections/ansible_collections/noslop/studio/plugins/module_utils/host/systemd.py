# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask and command systemd for several units in one call, and keep a list of what was changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload", "Result")


class SystemdError(Exception):
    """A command to systemd failed. The message holds the command and the answer."""


@dataclass(frozen=True)
class Unit:
    """State of one unit, in systemd's own words."""

    name: str
    load: str = "not-found"
    active: str = "inactive"
    enabled: str = ""
    stale: bool = False
    result: str = ""

    @property
    def is_active(self) -> bool:
        """Whether it runs, or is about to."""
        return self.active in ("active", "activating", "reloading")


class Systemd:
    """Runs ``systemctl``; in check mode it notes what it would have done."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.changes: list[str] = []

    def show(self, names: Sequence[str]) -> dict[str, Unit]:
        """State of the units, by name. A unit that does not exist has ``load`` ``not-found``."""
        if not names or not os.path.isdir("/run/systemd/system"):
            return {name: Unit(name) for name in names}
        command = ["systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", *names]
        code, out, err = self.module.run_command(command)
        if code != 0:
            raise SystemdError(f"{' '.join(command)}: {(err or out).strip()}")
        return parse_show(names, out)

    def do(self, verb: str, *names: str) -> None:
        """Run ``systemctl VERB NAMES`` and note it as a change."""
        self.changes.append(" ".join(["systemctl", verb, *names]))
        if not self.module.check_mode:
            self._run(verb, *names)

    def reload_manager(self) -> None:
        """Let systemd read changed unit files. Restarts nothing, and so is no change of its own."""
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
        """What the unit's programs said last, on one line."""
        _code, out, _err = self.module.run_command(
            ["journalctl", "--boot", "--no-pager", "--output=cat", "--lines=6", f"--unit={name}"]
        )
        return " / ".join(dict.fromkeys(line.strip() for line in out.splitlines() if line.strip()))


def parse_show(names: Sequence[str], text: str) -> dict[str, Unit]:
    """Read what ``systemctl show`` prints: one block for each unit, in the order asked."""
    units = {name: Unit(name) for name in names}
    for name, block in zip(names, text.strip().split("\n\n")):
        properties = {key: value for key, _, value in (line.partition("=") for line in block.splitlines())}
        units[name] = Unit(
            name,
            load=properties.get("LoadState", ""),
            active=properties.get("ActiveState", ""),
            enabled=properties.get("UnitFileState", ""),
            stale=properties.get("NeedDaemonReload") == "yes",
            result=properties.get("Result", ""),
        )
    return units
