# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that one of two versions of ComfyUI serves whenever an upgrade is killed, and that the next run ends it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.lab.comfyui_host import ComfyuiHost, make_variables
from tests.support.lab.containers import running_containers

VERSIONS = ("v0.3.64", "v0.33.0")
MOMENTS = int(os.environ.get("NOSLOP_SWITCH_KILLS", "20"))


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyuiHost]:
    """Install both versions in a container, so that a run is little more than a switch. The older one runs."""
    with running_containers() as hosts:
        host = ComfyuiHost(hosts["role-worker"], make_variables(tmp_path_factory.mktemp("locks")))
        host.converge(VERSIONS[0], storage=True)
        host.converge(VERSIONS[1])
        host.converge(VERSIONS[0])
        yield host


def test_upgrade_killed_at_any_moment_leaves_a_version_that_serves(comfyui: ComfyuiHost) -> None:
    started = time.monotonic()
    comfyui.converge(VERSIONS[1])
    whole_s = time.monotonic() - started
    killed = 0
    for moment in range(MOMENTS):
        target = VERSIONS[moment % 2]
        process = comfyui.start_run(target)
        try:
            process.wait(whole_s * (moment + 1) / (MOMENTS + 1))
        except subprocess.TimeoutExpired:
            killed += 1
        comfyui.kill_run(process)
        assert f"v{comfyui.read_version()}" in VERSIONS
        comfyui.render()
        comfyui.converge(target)
        assert f"v{comfyui.read_version()}" == target
        comfyui.render()
    assert killed >= MOMENTS - 2, "runs ended before they were killed"
