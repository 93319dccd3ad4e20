# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the variables of a host are read as a shell reads them, and that secrets keep their values."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from ansible_collections.noslop.studio.plugins.module_utils.status import environment

NODE = """\
# Managed by NoSlop
NOSLOP_STUDIO_ID="abc"
PROJECT_STORAGE_DIR="/mnt/no slop/projects"
QUOTED="a 'b' c"
PLAIN=x
SINGLE='y z'
EMPTY=""
no line of it
"""
BACKEND = """\
NOSLOP_STUDIO_ID="abc"
NOSLOP_DATABASE_URL="postgresql://noslop:SECRET@db/noslop"
PROJECT_STORAGE_DIR="/mnt/no slop/projects"
NOSLOP_PROJECT_QUOTA_BYTES="7"
NOSLOP_COMFYUI_HOSTS="one=10.0.0.1:8188"
S3_KEY="SECRET"
"""


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_variables_are_those_of_a_shell(tmp_path: Path) -> None:
    variables = environment.parse(NODE)
    program = 'set -a; . "$1"; printf "%s\\0" ' + " ".join(f'"${name}"' for name in variables)
    file = write(tmp_path / "node.env", NODE.replace("no line of it\n", ""))
    shown = subprocess.run(["sh", "-c", program, "sh", file], capture_output=True, check=True, text=True).stdout
    assert list(variables.values()) == shown.split("\0")[:-1]
    assert variables["PROJECT_STORAGE_DIR"] == "/mnt/no slop/projects"
    assert shlex.split(f"X={shlex.quote(variables['QUOTED'])}") == ["X=a 'b' c"]


def test_backend_adds_its_variables_and_names_of_secrets(tmp_path: Path) -> None:
    node, backend = write(tmp_path / "node.env", NODE), write(tmp_path / "backend.env", BACKEND)
    answer = environment.read(node, backend)
    assert answer["secrets"] == ["NOSLOP_DATABASE_URL", "S3_KEY"]
    assert answer["variables"]["NOSLOP_PROJECT_QUOTA_BYTES"] == "7"
    assert answer["variables"]["NOSLOP_COMFYUI_HOSTS"] == "one=10.0.0.1:8188"
    assert "SECRET" not in str(answer)
    assert environment.read(node, "") == {"variables": environment.parse(NODE), "secrets": []}


def test_host_without_the_file_has_no_variables(tmp_path: Path) -> None:
    assert environment.read(str(tmp_path / "none"), "") == {"variables": {}, "secrets": []}
