# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a trial names each custom node that raises, crashes, hangs or writes outside, and passes the others."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.install import builds, node_trials

#: Imports nodes and reports them as ComfyUI does (nodes.py, load_custom_node and init_external_custom_nodes).
MAIN = """
import importlib.util, logging, os, sys, traceback
logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "custom_nodes")
open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "comfyui.log"), "w").close()
for name in sorted(os.listdir(here)):
    path, note = os.path.join(here, name), ""
    try:
        spec = importlib.util.spec_from_file_location(name, os.path.join(path, "__init__.py"))
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except Exception as error:
        logging.warning(traceback.format_exc())
        logging.warning(f"Cannot import {path} module for custom nodes: {error}")
        note = " (IMPORT FAILED)"
    logging.info("%6.1f seconds%s: %s", 0.1, note, path)
"""
NODES = {
    "good": "import tempfile; tempfile.TemporaryFile(); open('/dev/null', 'w').close()",
    "own": "import os; open(os.path.join(os.path.dirname(__file__), 'cache'), 'w').close()",
    "raises": "def load():\n    raise ValueError('no such card')\nload()",
    "crashes": "import os; os.abort()",
    "ends": "import os; os._exit(3)",
    "hangs": "import threading; threading.Event().wait()",
    "writes": "try:\n    open('/proc/noslop-node', 'w')\nexcept OSError:\n    pass",
    "makes": "import os\ntry:\n    os.mkdir('/proc/x')\nexcept OSError:\n    pass",
    "shares": "import sys\nif hasattr(sys, 'taken'):\n    raise RuntimeError('taken')\nsys.taken = 1",
}
NODES["shares-too"] = NODES["shares"]


class Studio:
    def __init__(self, root: Path) -> None:
        self.program, self.programs = root / "ComfyUI" / "main.py", root / "opt"
        self.program.parent.mkdir()
        self.program.write_text(MAIN)
        self.runs: list[list[str]] = []

    def find(self, *names: str, timeout_s: float = 60) -> dict[str, str]:
        trial = node_trials.Trial(
            str(self.program), sys.executable, str(self.program.parent / "custom_nodes"), timeout_s
        )
        account = worker_processes.Account(os.geteuid(), os.getegid())
        with builds.building(str(self.programs), account) as build:

            def start(command: list[str], tried: Sequence[str]) -> None:
                self.runs.append(list(tried))
                shutil.rmtree(trial.nodes, ignore_errors=True)
                for name in tried:
                    (Path(trial.nodes) / name).mkdir(parents=True)
                    (Path(trial.nodes) / name / "__init__.py").write_text(NODES[name])
                Path(trial.nodes).mkdir(exist_ok=True)
                build.run(command)

            return node_trials.find_failing_nodes(trial, names, build, start)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


def test_nodes_that_work_are_tried_once(studio: Studio) -> None:
    assert studio.find("good", "own") == {}
    assert studio.runs == [["good", "own"]]


def test_each_failure_is_named_and_the_others_pass(studio: Studio) -> None:
    assert studio.find("good", "raises", "crashes", "ends", "writes", "makes", "own") == {
        "raises": "raises at its import: ValueError: no such card",
        "crashes": "crashes at its import: SIGABRT",
        "ends": "ends ComfyUI at its import, with exit code 3",
        "writes": "writes to /proc/noslop-node at its import",
        "makes": "writes to /proc/x at its import",
    }
    assert studio.runs[-1] == ["good", "own"]


@pytest.mark.slow
def test_a_node_that_hangs_is_named(studio: Studio) -> None:
    assert studio.find("hangs", timeout_s=3) == {"hangs": "does not finish its import within 3 s"}


def test_a_node_that_fails_beside_another_only_is_named(studio: Studio) -> None:
    assert studio.find("shares", "shares-too") == {
        "shares-too": "works alone, and beside the other nodes raises at its import: RuntimeError: taken"
    }


def test_comfyui_that_does_not_start_is_no_nodes_fault(studio: Studio) -> None:
    studio.program.write_text("raise SystemExit('no torch here')")
    with pytest.raises(node_trials.TrialError, match=r"itself does not start(?s:.*)no torch here"):
        studio.find("good")
