# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the search for the users of a file system in /proc, with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host import mount_users, mountinfo

OPEN = "f = open(sys.argv[1]); "
MAP = "import mmap; f = open(sys.argv[1]); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); f.close(); "


@contextmanager
def process(*arguments: str, directory: Path) -> Iterator[int]:
    """Start a Python that uses a file, reports that, and then waits."""
    code = f"import sys; {arguments[0]}print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, *arguments[1:]]
    with subprocess.Popen(command, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout
        running.stdout.readline()
        yield running.pid
        running.terminate()


@pytest.fixture
def point(tmp_path: Path) -> str:
    """Return the mount point of the file system of the test's directory."""
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        holding = mountinfo.mount_containing(mountinfo.parse_mountinfo(stream.read()), str(tmp_path))
    assert holding
    return holding.point


@pytest.mark.parametrize("use", [OPEN, MAP])
def test_process_with_an_open_file_is_listed(tmp_path: Path, point: str, use: str) -> None:
    (tmp_path / "model").write_text("weights")

    with process(use, str(tmp_path / "model"), directory=Path("/proc")) as pid:
        users = {user.pid: user for user in mount_users.find_mount_users([point])}

    assert pid in users
    assert f"(pid {pid}) uses " in str(users[pid])


def test_process_with_a_working_directory_is_listed(tmp_path: Path, point: str) -> None:
    with process("", directory=tmp_path) as pid:
        users = {user.pid: user.path for user in mount_users.find_mount_users([point])}

    assert users[pid] == str(tmp_path)


def test_path_without_mount_has_no_users(tmp_path: Path) -> None:
    assert mount_users.find_mount_users([str(tmp_path / "nothing")]) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount")
def test_only_users_of_that_file_system_are_listed(tmp_path: Path) -> None:
    # In a separate mount namespace, with one process on a new file system and one beside it.
    script = f"""
        set -eu
        mount -t tmpfs none {tmp_path}
        touch {tmp_path}/file
        sleep 60 < {tmp_path}/file & on=$!
        sleep 60 < /dev/null & beside=$!
        trap 'kill $on $beside' EXIT
        echo $on $beside
        {sys.executable} - <<'END'
from ansible_collections.noslop.studio.plugins.module_utils.host.mount_users import find_mount_users
print(*(user.pid for user in find_mount_users(["{tmp_path}"])))
END
        """
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "collections"},
    )
    (on, _beside), named = (line.split() for line in done.stdout.splitlines())

    assert named == [on]
