# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the units of the studio that failed or start over and over, with the last errors in their journals."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TypedDict

from ansible_collections.noslop.studio.plugins.module_utils.deployed import units
from ansible_collections.noslop.studio.plugins.module_utils.host import state, systemd
from ansible_collections.noslop.studio.plugins.module_utils.status import log_lines

#: A unit that systemd started again so often, and that runs for less than this time, starts over and over.
RESTARTS = 3
STEADY_S = 600.0
JOURNAL_LINES = 60
_PROPERTIES = (
    "Id",
    "ActiveState",
    "SubState",
    "Result",
    "NRestarts",
    "ExecMainStatus",
    "ActiveEnterTimestampMonotonic",
)


class BadUnit(TypedDict):
    """A unit that failed or starts over and over. ``state`` says which, ``lines`` are its last errors."""

    unit: str
    state: str
    restarts: int
    lines: list[str]


def read_bad_units() -> list[BadUnit]:
    """Return the units of the studio that failed or start over and over."""
    names = [name for name in units.find_units() if name.endswith(".service")]
    text = state.run_program("systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", *names) if names else ""
    bad = find_bad_units(
        (systemd.parse_properties(block) for block in text.strip().split("\n\n") if block), time.monotonic()
    )
    secrets = log_lines.read_secrets() if bad else []
    for unit in bad:
        unit["lines"] = log_lines.select(_read_journal(unit["unit"]), secrets)
    return bad


def find_bad_units(blocks: Iterable[Mapping[str, str]], now_s: float) -> list[BadUnit]:
    """Return the bad ones of units by what ``systemctl show`` printed of each. ``now_s`` is the time since boot."""
    bad: list[BadUnit] = []
    for properties in blocks:
        restarts = _read_number(properties.get("NRestarts", ""))
        text = _describe(properties, restarts, now_s)
        if text:
            bad.append({"unit": properties.get("Id", ""), "state": text, "restarts": restarts, "lines": []})
    return bad


def _describe(properties: Mapping[str, str], restarts: int, now_s: float) -> str:
    """Return what is bad of a unit; empty if nothing is."""
    status = _read_number(properties.get("ExecMainStatus", ""))
    because = f"{properties.get('Result') or 'unknown'}{f', status {status}' if status else ''}"
    if properties.get("ActiveState") == "failed":
        return f"failed ({because})"
    if properties.get("SubState") == "auto-restart":
        return f"waits for its start after a failure ({because})"
    active_s = now_s - _read_number(properties.get("ActiveEnterTimestampMonotonic", "")) / 1e6
    if restarts >= RESTARTS and active_s < STEADY_S:
        return f"starts over and over: {restarts} times"
    return ""


def _read_journal(unit: str) -> list[str]:
    return state.run_program(
        *("journalctl", "--boot", "--no-pager", "--output=cat", f"--lines={JOURNAL_LINES}", f"--unit={unit}")
    ).splitlines()


def _read_number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0
