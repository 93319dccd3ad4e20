# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which units count as bad, by what systemd shows of them."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.status import units

NOW_S = 10_000.0


def unit(**properties: str) -> dict[str, str]:
    return {"Id": "noslop-x.service", "ActiveState": "active", "SubState": "running", "Result": "success", **properties}


def started(seconds_ago: float, restarts: int) -> dict[str, str]:
    return unit(NRestarts=str(restarts), ActiveEnterTimestampMonotonic=str(int((NOW_S - seconds_ago) * 1e6)))


@pytest.mark.parametrize(
    ("properties", "text"),
    [
        (unit(ActiveState="failed", Result="exit-code", ExecMainStatus="203"), "failed (exit-code, status 203)"),
        (unit(ActiveState="failed", Result="timeout"), "failed (timeout)"),
        (
            unit(ActiveState="activating", SubState="auto-restart", Result="exit-code", ExecMainStatus="1"),
            "waits for its start after a failure (exit-code, status 1)",
        ),
        (started(60, 3), "starts over and over: 3 times"),
    ],
)
def test_failed_and_restarting_units_are_bad(properties: dict[str, str], text: str) -> None:
    (bad,) = units.find_bad_units([unit(), properties], NOW_S)
    assert (bad["unit"], bad["state"]) == ("noslop-x.service", text)


@pytest.mark.parametrize("properties", [unit(), unit(ActiveState="inactive"), started(60, 2), started(7200, 9), {}])
def test_unit_that_runs_or_was_stopped_is_not_bad(properties: dict[str, str]) -> None:
    assert units.find_bad_units([properties], NOW_S) == []
