# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test `make lab-down` on a computer without podman, where only `make demo` ran."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LIBRARY = Path(__file__).parents[3] / "lab/library"
#: Run a module file as Ansible does, with its arguments on standard input.
RUN = """
import runpy, sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = sys.stdin.buffer.read(), "legacy"
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def test_removal_without_podman_changes_nothing(tmp_path: Path) -> None:
    arguments = {
        "state": "absent",
        "directory": str(tmp_path),
        "hosts": [{"name": "role-none", "address": "10.77.43.99"}],
        "network": "noslop-none",
        "subnet": "10.77.43.0/24",
        "gateway": "10.77.43.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(LIBRARY / "lab_containers.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    answer = json.loads(done.stdout)
    assert (answer.get("failed"), answer["changed"]) == (None, False), answer
