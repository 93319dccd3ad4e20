# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that files are written with their secrets, with Ansible itself on this host."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.support.module_runner import run_module

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root writes units of the system")
COLLECTIONS = Path(__file__).parents[4] / "collections"
HIDDEN = 'hf_0123456789 of "this" test\nin two lines'


def write_with_ansible(directory: Path, text: str) -> str:
    """Write one secret file with ``ansible --diff -vvv``, and return all that it printed."""
    (directory / "token.j2").write_text("# Managed by NoSlop\nTOKEN={{ token }}\n")
    task = {
        "files": [
            {
                "src": str(directory / "token.j2"),
                "dest": str(directory / "credentials" / "unit" / "environment"),
                "owner": "root" if os.geteuid() == 0 else "{{ lookup('pipe', 'id -un') }}",
                "group": "root" if os.geteuid() == 0 else "{{ lookup('pipe', 'id -gn') }}",
                "mode": "0600",
                "directory_mode": "0700",
                "secret": True,
            }
        ]
    }
    variables = directory / "variables.json"
    variables.write_text(json.dumps({"token": text, "ansible_python_interpreter": sys.executable}))
    command = [
        str(Path(sys.executable).with_name("ansible")),
        "localhost",
        "--connection=local",
        "--inventory=localhost,",
    ]
    command += ["--diff", "-vvv", "--extra-vars", f"@{variables}"]
    command += ["--module-name=noslop.studio.managed_files", "--args", json.dumps(task)]
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_secret_file_is_written_and_never_shown(tmp_path: Path) -> None:
    written = write_with_ansible(tmp_path, HIDDEN)
    changed = write_with_ansible(tmp_path, "another " + HIDDEN)

    file = tmp_path / "credentials" / "unit" / "environment"
    assert file.read_text() == f"# Managed by NoSlop\nTOKEN=another {HIDDEN}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert "(secret, differs)" in changed
    for line in HIDDEN.splitlines():
        assert line not in written + changed
    assert "hf_0123456789" not in written + changed


def test_removed_secret_file_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "environment"
    file.write_text(f"# Managed by NoSlop\nTOKEN={HIDDEN}\n")

    removed = run_module("managed_files", {"files": [{"dest": str(file), "state": "absent", "secret": True}]})

    assert removed["changed_files"] == [str(file)]
    assert not file.exists()
    assert "hf_0123456789" not in json.dumps(removed)


def test_missing_secret_text_is_an_error(tmp_path: Path) -> None:
    answer = run_module("managed_files", {"files": [{"dest": str(tmp_path / "environment"), "secret": True}]})

    assert answer["failed"]
    assert not (tmp_path / "environment").exists()


@root_only
def test_empty_directory_of_drop_ins_goes_with_its_last_file_and_others_stay(tmp_path: Path) -> None:
    drop_ins = Path(f"/etc/systemd/system/noslop-test-{uuid.uuid4()}.service.d")
    files = [drop_ins / "noslop.conf", drop_ins / "second.conf", tmp_path / "made" / "file"]
    contents = [{"dest": str(file), "content": "# Managed by NoSlop\n"} for file in files]
    record = str(tmp_path / "record.json")
    run_module("managed_files", {"files": contents, "record": record})
    try:
        for removed, left in ((files[0], True), (files[1], False), (files[2], False)):
            run_module("managed_files", {"files": [{"dest": str(removed), "state": "absent"}], "record": record})
            assert not removed.exists()
            assert drop_ins.exists() == left
        assert files[2].parent.exists(), "it may be another program's"
    finally:
        shutil.rmtree(drop_ins, ignore_errors=True)
