# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the evidence of units, from what systemd and its journal print."""

from __future__ import annotations

import os
import signal
import subprocess

from ansible_collections.noslop.studio.plugins.module_utils.evidence import units
from ansible_collections.noslop.studio.plugins.module_utils.host import systemd

from tests.support.waiting import wait_until

SHOWN = """\
MainPID={pid}
ControlPID=0
NRestarts=7
ExecMainStatus=203
Result=exit-code
ExecStart={{ path={program} ; argv[]={program} serve ; ignore_errors=no ; start_time=[n/a] ; pid=0 }}
LoadState=loaded
ActiveState=activating
SubState=auto-restart
DropInPaths=/usr/lib/systemd/system/x.d/1.conf /etc/systemd/system/x.d/2.conf "/etc/systemd/system/x.d/a b.conf"
UnitFileState=enabled
ActiveEnterTimestampMonotonic=5000000
"""


def describe(pid: int = 0, program: str = "/bin/sh", written: tuple[str, ...] = ()) -> dict[str, object]:
    return units.describe(systemd.parse_properties(SHOWN.format(pid=pid, program=program)), written, 12.0)


def test_program_that_is_gone_restarts_and_drop_ins_of_administrators_are_evidence() -> None:
    unit = describe(program="/opt/noslop/gone")
    assert (unit["program"], unit["program_missing"], unit["status"], unit["restarts"]) == (
        "/opt/noslop/gone", True, 203, 7,
    )  # fmt: skip
    assert unit["drop_ins"] == ["/etc/systemd/system/x.d/2.conf", "/etc/systemd/system/x.d/a b.conf"]
    assert unit["active_s"] == 7.0
    assert units.is_suspect(unit)
    assert describe()["program_missing"] is False


def test_drop_in_that_noslop_wrote_is_its_own() -> None:
    unit = describe(written=("/etc/systemd/system/x.d/2.conf",))
    assert unit["drop_ins"] == ["/etc/systemd/system/x.d/a b.conf"]


def test_process_stopped_by_a_signal_has_the_state_t() -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            os.kill(process.pid, signal.SIGSTOP)
            wait_until(lambda: describe(process.pid)["state"] == "T")
        finally:
            process.kill()


def test_unit_that_runs_or_is_stopped_needs_no_journal() -> None:
    for active in ("active", "inactive"):
        unit = {"load": "loaded", "active": active, "restarts": 0, "result": "success"}
        assert not units.is_suspect(unit)
    assert not units.is_suspect({"load": "not-found", "active": "inactive", "restarts": 0, "result": ""})


def test_lines_of_a_journal_are_printable_and_bounded() -> None:
    lines = units.bound_lines("\x1b[31mred\x07\n\n" + "\n".join(f"{n} " + "x" * 1000 for n in range(20)), 3)
    assert len(lines) == 3
    assert all(len(line) <= units.LINE_LENGTH for line in lines)
    assert units.bound_lines("\x1b[31mred\x07", 3) == ["[31mred"]


def test_custom_nodes_that_failed_at_the_last_start_are_named() -> None:
    text = (
        "Import times for custom nodes:\n   0.1 seconds (IMPORT FAILED): /x/custom_nodes/mended\n"
        "Import times for custom nodes:\n   0.0 seconds: /x/custom_nodes/works\n"
        "   0.3 seconds (IMPORT FAILED): /x/custom_nodes/broken\n"
    )
    assert units.parse_failed_imports(text) == ["/x/custom_nodes/broken"]
    assert units.parse_failed_imports("Starting server") == []
