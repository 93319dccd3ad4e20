# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the state of systemd units and the end of their journals, as evidence."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import shorten
from ansible_collections.noslop.studio.plugins.module_utils.deployed.units import HEADER
from ansible_collections.noslop.studio.plugins.module_utils.host import processes, state, systemd

JOURNAL_LINES = 12
LINE_LENGTH = 240
#: So many lines of a service's journal are read for the custom nodes that it could not import.
IMPORT_LINES = 400
#: Where administrators have drop-ins. Those of packages lie in /usr/lib.
_DROP_IN_DIRECTORIES = ("/etc/systemd/", "/run/systemd/")
_PROPERTIES = (
    *("LoadState", "ActiveState", "SubState", "Result", "UnitFileState", "ExecMainStatus", "NRestarts", "MainPID"),
    *("ControlPID", "DropInPaths", "ExecStart", "ConditionResult", "ActiveEnterTimestampMonotonic"),
)
_PATH = re.compile(r"path=([^ ;]+)")
_IMPORT_FAILED = re.compile(r"\(IMPORT FAILED\): (\S.*?)/*\s*$")


def read_units(
    names: Sequence[str], written: Collection[str], followed: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return the evidence of units, by name.

    Args:
        names: the units.
        written: files that NoSlop wrote; a drop-in among them is no one else's.
        followed: units whose journal is read though they run.
    """
    if not names:
        return {}
    text = state.run_program("systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", *names)
    blocks = [systemd.parse_properties(block) for block in text.strip().split("\n\n") if block]
    units = {name: describe(block, written, time.monotonic()) for name, block in zip(names, blocks)}
    for name, unit in units.items():
        if name in followed or is_suspect(unit):
            unit["journal"] = read_journal(name)
    return units


def describe(
    properties: Mapping[str, str], written: Collection[str], now_s: float, proc: str = "/proc"
) -> dict[str, Any]:
    """Return the evidence of one unit from what ``systemctl show`` printed; ``now_s`` is the monotonic time."""
    pid = _number(properties.get("MainPID", "")) or _number(properties.get("ControlPID", ""))
    entered_us = _number(properties.get("ActiveEnterTimestampMonotonic", ""))
    program = _PATH.search(properties.get("ExecStart", ""))
    path = program.group(1) if program else ""
    return {
        "load": properties.get("LoadState", ""),
        "active": properties.get("ActiveState", ""),
        "sub": properties.get("SubState", ""),
        "result": properties.get("Result", ""),
        "enabled": properties.get("UnitFileState", ""),
        "status": _number(properties.get("ExecMainStatus", "")),
        "restarts": _number(properties.get("NRestarts", "")),
        "pid": pid,
        "state": processes.read_state(pid, proc) if pid else "",
        "program": path,
        "program_missing": path.startswith("/") and not os.path.exists(path),
        "drop_ins": find_drop_ins(properties.get("DropInPaths", ""), written),
        "active_s": max(0.0, now_s - entered_us / 1e6) if entered_us else None,
        "journal": [],
    }


def find_drop_ins(paths: str, written: Collection[str]) -> list[str]:
    """Return the drop-ins of administrators in the value of ``DropInPaths``."""
    try:
        words = shlex.split(paths)
    except ValueError:
        words = paths.split()
    foreign = [path for path in words if path.startswith(_DROP_IN_DIRECTORIES) and path not in written]
    return [path for path in foreign if HEADER not in state.read_text(path)]


def is_suspect(unit: Mapping[str, Any]) -> bool:
    """Return whether the journal of a unit may say why something does not work."""
    return unit["load"] == "loaded" and (
        unit["active"] not in ("active", "inactive") or unit["restarts"] > 0 or unit["result"] not in ("success", "")
    )


def read_journal(name: str) -> list[str]:
    """Return the last lines of a unit's journal."""
    text = state.run_program("journalctl", "--no-pager", "--output=cat", f"--lines={JOURNAL_LINES}", f"--unit={name}")
    return bound_lines(text, JOURNAL_LINES)


def read_failed_imports(name: str) -> list[str]:
    """Return the directories of custom nodes that ComfyUI could not import at its last start, by its journal."""
    text = state.run_program(
        "journalctl", "--no-pager", "--output=cat", "--boot", f"--lines={IMPORT_LINES}", f"--unit={name}"
    )
    return parse_failed_imports(text)


def parse_failed_imports(text: str) -> list[str]:
    """Return the directories that lines of ComfyUI call failed, since its last start."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if "Import times for custom nodes" in line]
    matches = [_IMPORT_FAILED.search(line) for line in lines[starts[-1] if starts else 0 :]]
    return list(dict.fromkeys(shorten(match.group(1), LINE_LENGTH) for match in matches if match))


def bound_lines(text: str, most: int) -> list[str]:
    """Return the last lines of a text that are not empty, printable and each of a bounded length."""
    lines = ["".join(char for char in line if char.isprintable()) for line in text.splitlines()]
    return [shorten(line, LINE_LENGTH) for line in lines if line.strip()][-most:]


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
