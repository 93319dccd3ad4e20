# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a run which is killed after any of its tasks is continued by the next one."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.lab.comfyui_host import ComfyuiHost, make_variables
from tests.support.lab.containers import running_containers
from tests.support.lab.machines import LAB

OLD, NEW = "v0.3.64", "v0.33.0"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyuiHost]:
    """Return a bare container that is to get accounts, shares, ComfyUI and Ollama."""
    with running_containers() as hosts:
        manifest = json.loads((LAB / "artifacts" / "manifest.json").read_text(encoding="utf-8"))
        ollama = {"ollama_version": "0.32.7", "ollama_sha256": manifest["ollama_releases"]["0.32.7"]}
        variables = make_variables(tmp_path_factory.mktemp("locks"))
        yield ComfyuiHost(hosts["role-worker"], {**variables, **ollama, "comfyui_with_ollama": True})


def test_installation_killed_after_every_task_is_continued(bare: ComfyuiHost) -> None:
    killed = bare.converge_killed(OLD, 1, storage=True)
    print(f"killed after {len(killed)} tasks: {killed}")
    assert bare.converge(OLD, storage=True) == 0
    assert bare.read_version() == OLD[1:]
    bare.render()
    bare.machine.check_output("curl -sf http://127.0.0.1:11434/api/version")


def test_upgrade_killed_after_every_task_leaves_a_version_that_serves(bare: ComfyuiHost) -> None:
    def render() -> None:
        assert f"v{bare.read_version()}" in (OLD, NEW)
        bare.render()

    killed = bare.converge_killed(NEW, 1, after_kill=render)
    print(f"killed after {len(killed)} tasks: {killed}")
    assert bare.converge(NEW) == 0
    assert bare.read_version() == NEW[1:]
