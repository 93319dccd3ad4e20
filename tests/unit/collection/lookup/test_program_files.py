# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which files of the collection a program on a host consists of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.lookup import program_files


@pytest.mark.parametrize("name", ["models/jobs", "model_cache/program", "monitor/program"])
def test_program_is_complete_and_needs_nothing_of_ansible(tmp_path: Path, name: str) -> None:
    for file in program_files.make_files([name], str(tmp_path)):
        path = Path(file["dest"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file["content"])
    module = f"{program_files.PACKAGE}.{name.replace('/', '.')}"
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {module}"
    done = subprocess.run([sys.executable, "-ISc", code], capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("terms", "message"), [([], "name a file"), (["models/none"], "no file models/none.py")])
def test_file_that_is_none_is_refused(terms: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        program_files.make_files(terms, "/opt/x")
