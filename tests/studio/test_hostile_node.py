# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a custom node that attacks from inside ComfyUI's unit, on the storage server and on a worker."""

from __future__ import annotations

import pytest

from tests.studio.conftest import Studio
from tests.support.lab.hostile_node import run_hostile_node


@pytest.mark.parametrize("name", ["server", "worker1"])
def test_hostile_custom_node_reaches_nothing(studio: Studio, name: str) -> None:
    result = run_hostile_node(studio.machines["server"], studio.machines[name])
    assert {what for what, answer in result.attempts.items() if answer == "SUCCEEDED"} == set()
    assert set(result.own.values()) == {"SUCCEEDED"}
    assert len(result.attempts) > 80
