# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test when custom nodes are tried again, and what the sandbox of a trial shows them. Molecule runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks import node_checks
from ansible_collections.noslop.studio.plugins.modules import node_trial

from tests.support.module_runner import run_module

PAINTER = {"painter": ".noslop-nodes.disabled/painter/" + "a" * 40}


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    for name, stamp in {
        "source/.noslop-release.json": {"commit": "1"},
        "venv/.noslop-venv.json": {"digest": "2"},
    }.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(json.dumps(stamp))
    return {
        "source": str(tmp_path / "source"),
        "venv": str(tmp_path / "venv"),
        "share": "/mnt/noslop/comfyui/custom_nodes",
        "nodes": PAINTER,
        "owner": "noslop-nodes",
        "writable": [],
        "hidden": ["/mnt/noslop"],
        "result": str(tmp_path / "result.json"),
    }


def test_a_trial_is_repeated_only_for_other_revisions(tmp_path: Path, arguments: dict[str, Any]) -> None:
    assert run_module("node_trial", {**arguments, "nodes": {}})["changed"] is False
    assert run_module("node_trial", arguments, check=True) == run_module("node_trial", arguments, check=True)
    failed = {"painter": "crashes at its import: SIGSEGV"}
    tried = node_trial.describe_inputs(arguments)
    (tmp_path / "result.json").write_text(json.dumps({"tried": tried, "failed": failed}))
    again = run_module("node_trial", arguments)
    assert (again["changed"], again["failed_nodes"]) == (False, failed)
    assert node_checks.read_failed_nodes(arguments["result"]) == failed

    for name, stamp in {
        "source/.noslop-release.json": {"commit": "3"},
        "venv/.noslop-venv.json": {"digest": "3"},
    }.items():
        before = (tmp_path / name).read_text()
        (tmp_path / name).write_text(json.dumps(stamp))
        assert run_module("node_trial", arguments, check=True)["changed"]
        (tmp_path / name).write_text(before)
    moved = {"painter": PAINTER["painter"].replace("a", "b")}
    assert run_module("node_trial", {**arguments, "nodes": moved}, check=True)["changed"]
    assert run_module("node_trial", {**arguments, "nodes": {}})["failed_nodes"] == {}
    assert node_checks.read_failed_nodes(arguments["result"]) == {}


def test_sandbox_shows_the_tried_nodes_and_nothing_else_of_the_storage(arguments: dict[str, Any]) -> None:
    params = {**arguments, "account": "noslop-build", "memory_max": "4G", "timeout_s": 20}
    properties = node_trial.make_properties(params, "/opt/noslop/.build/x", ["painter"])
    share = arguments["share"]
    assert f"TemporaryFileSystem=/mnt/noslop:ro {share}:ro /run:ro" in properties
    assert [line for line in properties if line.startswith("BindReadOnlyPaths=")] == [
        f"BindReadOnlyPaths={share}/{PAINTER['painter']}:{share}/painter"
    ]
    assert [line for line in properties if line.startswith("ReadWritePaths=")] == [
        "ReadWritePaths=/opt/noslop/.build/x"
    ]
    writable = node_trial.make_properties({**params, "writable": ["painter"]}, "/opt/noslop/.build/x", ["painter"])
    assert f"BindPaths=/opt/noslop/.build/x/writable/painter:{share}/painter" in writable
    assert {"ProtectSystem=strict", "PrivateNetwork=yes", "User=noslop-build"} <= set(properties)
