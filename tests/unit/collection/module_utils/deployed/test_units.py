# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which units belong to a deployment, and which of their properties a comparison notices."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.deployed import units

KEY = b"k" * 32
SHOWN = {
    "Id": "noslop-x.service", "Type": "simple", "LoadState": "loaded", "ActiveState": "active",
    "UnitFileState": "enabled", "NeedDaemonReload": "no", "FragmentPath": "", "DropInPaths": "", "MainPID": "0",
}  # fmt: skip


def test_units_that_noslop_wrote_and_those_with_a_drop_in_of_its_own_are_listed(tmp_path: Path) -> None:
    for name, text in {
        "noslop-x.service": "# Managed by NoSlop\n",
        "noslop-failure@.service": "# Managed by NoSlop\n",
        "mnt-share.automount": "# Managed by NoSlop\n",
        "mine.service": "[Service]\n",
        "other.service.d/noslop.conf": "# Managed by NoSlop\n",
        "third.service.d/mine.conf": "[Service]\n",
        "multi-user.target.wants/x": "# Managed by NoSlop\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    names = units.find_units([str(tmp_path), str(tmp_path / "missing")])
    assert set(names) - set(units.find_units([])) == {"noslop-x.service", "mnt-share.automount", "other.service"}
    assert "nfs-server.service" in names


@pytest.mark.parametrize(
    ("changed", "property_name"),
    [
        ({"UnitFileState": "masked"}, "enabled"),
        ({"UnitFileState": "disabled"}, "enabled"),
        ({"ActiveState": "inactive"}, "active"),
        ({"ActiveState": "failed"}, "active"),
        ({"LoadState": "masked"}, "loaded"),
        ({"NeedDaemonReload": "yes"}, "waits for a reload of systemd"),
        ({"FragmentPath": "/run/systemd/system/noslop-x.service"}, "file"),
        ({"DropInPaths": "/run/systemd/system/noslop-x.service.d/override.conf"}, "drop-ins"),
    ],
)
def test_each_property_of_a_unit_counts(changed: dict[str, str], property_name: str) -> None:
    before, after = units.read_unit(SHOWN, KEY), units.read_unit({**SHOWN, **changed}, KEY)
    differing = {name for name in {**before, **after} if before.get(name) != after.get(name)}
    assert differing == {property_name}


@pytest.mark.parametrize(
    "job", [{"Type": "oneshot", "RemainAfterExit": "no"}, {"Id": "mnt-share.mount"}], ids=["job", "mount"]
)
def test_what_ends_by_itself_need_not_run(job: dict[str, str]) -> None:
    running, ended = ({**SHOWN, **job, "ActiveState": state} for state in ("active", "inactive"))
    assert units.read_unit(running, KEY) == units.read_unit(ended, KEY)


def read_running(name: str) -> dict[str, str]:
    """Return the unit of a process that runs, and calls itself `name`."""
    with subprocess.Popen([name], executable="/bin/cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"runs\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"runs\n"
        return units.read_unit({**SHOWN, "MainPID": str(process.pid)}, KEY)


def test_program_that_runs_counts_and_a_title_is_none() -> None:
    assert read_running("/opt/noslop/ollama/1.0/bin/ollama")["program"] == "/opt/noslop/ollama/1.0/bin/ollama"
    assert "program" not in read_running("daemon: running")


def test_content_of_a_drop_in_counts(tmp_path: Path) -> None:
    drop_in = tmp_path / "override.conf"
    shown = {**SHOWN, "DropInPaths": str(drop_in)}
    drop_in.write_text("[Service]\n")
    before = units.read_unit(shown, KEY)
    drop_in.write_text("[Service]\nUser=root\n")
    assert units.read_unit(shown, KEY) != before
