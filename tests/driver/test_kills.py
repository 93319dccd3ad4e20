# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from noslop_driver import studio_lock
from noslop_driver.errors import UsageError
from tests.driver import kills
from tests.driver.conftest import StartSshd


@pytest.mark.parametrize("lines", [1, 8, kills.MOMENTS], ids=["before Ansible", "between tasks", "in a task"])
def test_killed_driver_leaves_nothing_and_starts_no_next_task(
    tmp_path: Path, sshd_server: StartSshd, lines: int
) -> None:
    studio = kills.Studio(tmp_path, sshd_server())
    left = studio.kill_after(lines)
    assert kills.is_clean(left), left
    assert studio.run_next() == "ok"
    assert studio.private_files() == []


def test_driver_after_a_killed_one_waits_for_its_tasks_and_runs(tmp_path: Path, sshd_server: StartSshd) -> None:
    studio = kills.Studio(tmp_path, sshd_server())
    process = studio.drive("long.yml", {})
    assert process.stdout
    while process.stdout.readline() != "start\n":
        assert process.poll() is None
    process.kill()
    process.wait()
    assert studio.run_next() == "ok"


def test_second_driver_is_refused_and_told_the_process(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with (
        studio_lock.lock(lock, tmp_path, print),
        pytest.raises(UsageError, match=rf"process {os.getpid()}\)"),
        studio_lock.lock(lock, tmp_path, print),
    ):
        pass
    with studio_lock.lock(lock, tmp_path, print):
        assert len(studio_lock.descriptors()) == 1
    assert studio_lock.descriptors() == []


def test_lock_stays_with_a_process_that_inherited_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    program = "import sys; print('ready', flush=True); sys.stdin.read()"
    with studio_lock.lock(lock, tmp_path, print):
        child = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=studio_lock.descriptors(),
        )
        assert child.stdout
        assert child.stdout.readline()
    with lock.open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    child.communicate()
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
