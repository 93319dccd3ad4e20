# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plant faults in a studio of one machine, one at a time: doctor names each one first, and `--fix` mends what is safe.

The sample of tests/faults/test_doctor.py. The studio is the one that test_one_machine.py deployed.
"""

from __future__ import annotations

import pytest

from tests.local.conftest import TIMEOUT_S, Solo
from tests.support.lab.planted_faults import FAULTS_OF_A_HOST, list_causes

pytestmark = pytest.mark.long
HOST = "role-server"
NAMES = tuple(FAULTS_OF_A_HOST)


def reject_urgent_causes(solo: Solo) -> None:
    code, result = solo.run_driver_json("doctor --studio solo")
    assert code == 0, result["causes"]
    assert [cause for cause in result["causes"] if cause["urgent"]] == []
    assert result["not_examined"] == {}


def test_studio_that_works_has_no_cause_that_hurts_now(solo: Solo) -> None:
    reject_urgent_causes(solo)


@pytest.mark.parametrize("name", NAMES)
def test_fault_is_named_first_and_mended_where_that_is_safe(solo: Solo, name: str) -> None:
    fault = FAULTS_OF_A_HOST[name]
    solo.host.check_output(fault.plant, root=True, timeout_s=TIMEOUT_S)
    try:
        _code, result = solo.run_driver_json("doctor --studio solo", *(["--fix"] if fault.fixed else []))
        if fault.fixed:
            assert (fault.kind, True) in [(fix["kind"], fix["mended"]) for fix in result["fixes"]], result
        else:
            assert list_causes(result, HOST)[0]["kind"] == fault.kind, result["causes"]
    finally:
        solo.host.check_output(fault.undo, root=True, timeout_s=TIMEOUT_S)


def test_studio_without_the_faults_has_no_cause_that_hurts_now(solo: Solo) -> None:
    reject_urgent_causes(solo)
