# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that ComfyUI is switched to another version with its data, and goes back where that version does not work."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest

from tests.support.lab.comfyui_host import RECORD, UNIT, USER, ComfyuiHost, make_variables
from tests.support.lab.machines import Machine, wait_for

OLD, NEW = "v0.3.64", "v0.33.0"
WORKFLOW = f"{USER}/default/workflows/mine.json"
NODES = "/mnt/noslop/comfyui/custom_nodes"
GATE = "/var/lib/noslop/comfyui/output/gate"
#: A custom node that runs until a file exists.
WAITING_NODE = f"""
import os, time
class Waiting:
    FUNCTION, OUTPUT_NODE, RETURN_TYPES, CATEGORY = "wait", True, (), ""
    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{}}}}
    def wait(self):
        while not os.path.exists("{GATE}"):
            time.sleep(0.2)
        return ()
NODE_CLASS_MAPPINGS = {{"Waiting": Waiting}}
"""


@pytest.fixture(scope="module")
def comfyui(hosts: dict[str, Machine], tmp_path_factory: pytest.TempPathFactory) -> ComfyuiHost:
    """Install the older version by runs that are killed, until one ends. Add a workflow of a user.

    The sample of tests/faults/test_killed_runs.py: a run is killed after each fifteenth task.
    """
    host = ComfyuiHost(hosts["role-worker"], make_variables(tmp_path_factory.mktemp("locks")))
    assert len(host.converge_killed(OLD, 15, storage=True)) > 1
    assert host.converge(OLD, storage=True) == 0
    host.machine.check_output(
        f"cd {USER} && setpriv --reuid noslop-comfyui --regid noslop-comfyui --clear-groups"
        f" sh -c 'mkdir -p default/workflows && echo mine > {WORKFLOW}'",
        root=True,
    )
    return host


@pytest.fixture
def old(comfyui: ComfyuiHost) -> Iterator[ComfyuiHost]:
    """Return the host with the older version, and check afterwards that no data was lost."""
    if comfyui.read_version() != OLD[1:]:
        comfyui.converge(OLD)
    yield comfyui
    assert comfyui.machine.check_output(f"cat {WORKFLOW}", root=True) == "mine\n"


def read_unit(host: ComfyuiHost) -> str:
    return host.machine.check_output(f"cat /etc/systemd/system/{UNIT}")


def test_upgrade_and_the_way_back_keep_data(old: ComfyuiHost) -> None:
    before = old.render()
    assert old.converge(NEW) > 0
    assert old.read_version() == NEW[1:]
    assert old.render() > before
    assert old.converge(NEW) == 0
    state = old.machine.check_output(
        f"readlink /opt/noslop/comfyui/current /opt/noslop/comfyui/previous; cd {USER}; ls -d comfyui-*.db;"
        " cd ../copies; cat */default/workflows/mine.json",
        root=True,
    )
    assert state.split() == [NEW, OLD, f"comfyui-{OLD}.db", f"comfyui-{NEW}.db", "mine"]
    assert old.converge(OLD) > 0
    assert old.read_version() == OLD[1:]
    assert old.render() > before
    assert old.converge(OLD) == 0


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        pytest.param("v0.33.1", "does not answer at http://127.0.0.1:8188/system_stats", marks=pytest.mark.long),
        ("v0.33.2", "a workflow without models ended as error: this release cannot render"),
        pytest.param("v0.33.3", "its database cannot be opened: Failed to initialize database", marks=pytest.mark.long),
    ],
)
def test_version_that_does_not_work_is_left_by_itself(old: ComfyuiHost, version: str, reason: str) -> None:
    unit = read_unit(old)
    code, output = old.run(version)
    assert code != 0
    for words in (f"ComfyUI {version} was not kept, and {OLD} serves again", reason):
        assert words in output
    assert read_unit(old) == unit
    assert old.read_version() == OLD[1:]
    old.render()
    assert old.machine.sudo(f"test -e {USER}/comfyui-{version}.db").returncode != 0
    assert old.converge(OLD) == 0


def test_running_workflow_is_not_lost(old: ComfyuiHost) -> None:
    host = old.machine
    host.check_output(
        f"printf %s {shlex.quote(WAITING_NODE)} > {NODES}/waiting.py; systemctl restart {UNIT}", root=True
    )
    try:
        old.read_version()
        old.request("/prompt", {"prompt": {"1": {"class_type": "Waiting", "inputs": {}}}})
        code, output = old.run(NEW, comfyui_busy_timeout=1)
        assert code != 0
        assert "1 workflows run or wait on this host, and a restart would lose them" in output
        assert old.read_version() == OLD[1:]
        assert json.loads(old.request("/queue"))["queue_running"]
    finally:
        host.check_output(f"touch {GATE}; rm {NODES}/waiting.py", root=True)


def test_killed_switch_leaves_a_version_that_serves(old: ComfyuiHost) -> None:
    process = old.start_run(NEW)
    wait_for(
        "the switch",
        lambda: old.machine.sudo(f"test -e {RECORD}").returncode == 0 or process.poll() is not None,
        timeout_s=300,
    )
    old.kill_run(process)
    assert old.read_version() in (OLD[1:], NEW[1:])
    old.converge(NEW)
    assert old.read_version() == NEW[1:]
    assert old.converge(NEW) == 0


@pytest.mark.long
def test_killed_switch_to_a_version_that_does_not_work_is_undone(old: ComfyuiHost) -> None:
    process = old.start_run("v0.33.1")
    written = f"grep -q v0.33.1/main.py /etc/systemd/system/{UNIT}"
    wait_for("the unit", lambda: old.machine.run(written).returncode == 0, timeout_s=300)
    old.kill_run(process)
    assert old.converge(OLD) > 0
    assert old.read_version() == OLD[1:]
    assert old.converge(OLD) == 0
