# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the parser of ``systemctl show`` with output of systemd 252."""

from __future__ import annotations

from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import (
    Systemd,
    Unit,
    parse_properties,
    parse_show,
)

SHOWN = """\
LoadState=loaded
ActiveState=active
UnitFileState=enabled
NeedDaemonReload=yes
Result=success

LoadState=not-found
ActiveState=inactive
UnitFileState=
NeedDaemonReload=no
Result=success
"""


def test_each_unit_has_its_own_state() -> None:
    units = parse_show(["a.service", "b.service"], SHOWN)

    assert units["a.service"] == Unit("a.service", "loaded", "active", "enabled", stale=True, result="success")
    assert units["b.service"] == Unit("b.service", "not-found", "inactive", "", result="success")


def test_unit_without_output_does_not_exist() -> None:
    assert parse_show(["a.service"], "") == {"a.service": Unit("a.service", load="", active="")}


def test_value_of_a_property_may_contain_equals_signs() -> None:
    assert parse_properties("Environment=A=1 B=2\nno property\nMainPID=7\n") == {
        "Environment": "A=1 B=2",
        "MainPID": "7",
    }


def test_verb_without_units_runs_nothing_and_is_no_change() -> None:
    systemd = Systemd(module=None)

    systemd.do("stop")

    assert systemd.changes == []
