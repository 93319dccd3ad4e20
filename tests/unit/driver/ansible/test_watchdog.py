# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from noslop_driver.ansible import studio_lock
from noslop_driver.ansible.watchdog import remove_password_memory
from noslop_driver.errors import UsageError
from tests.support import driver_kills
from tests.unit.conftest import StartSshd


@pytest.mark.slow
@pytest.mark.parametrize("lines", [1, 8, driver_kills.MOMENTS], ids=["before Ansible", "between tasks", "in a task"])
def test_killed_driver_leaves_nothing_and_starts_no_next_task(
    tmp_path: Path, sshd_server: StartSshd, lines: int
) -> None:
    studio = driver_kills.Studio(tmp_path, sshd_server())
    remains = studio.kill_after(lines)
    assert driver_kills.is_clean(remains), remains
    assert studio.run_next() == "ok"
    assert studio.list_private_files() == []


@pytest.mark.slow
@pytest.mark.long
def test_next_driver_waits_for_the_tasks_of_a_killed_one(tmp_path: Path, sshd_server: StartSshd) -> None:
    studio = driver_kills.Studio(tmp_path, sshd_server())
    process = studio.start_driver("long.yml", {})
    assert process.stdout
    while process.stdout.readline() != "start\n":
        assert process.poll() is None
    process.kill()
    process.wait()
    assert studio.run_next() == "ok"


def test_only_passwords_in_shared_memory_are_removed() -> None:
    contents = [{"password": "hunter2", "prompt": "assword"}, {"password": "of another program"}, ["no object"]]
    segments = [SharedMemory(create=True, size=256) for _ in contents]
    try:
        for segment, content in zip(segments, contents, strict=True):
            data = json.dumps(content).encode()
            assert segment.buf
            segment.buf[: len(data)] = data
        names = [Path("/dev/shm", segment.name) for segment in segments]
        remove_password_memory(time.time() + 60)
        assert [path.exists() for path in names] == [True, True, True], "older than the run"
        remove_password_memory(time.time() - 60)
        assert [path.exists() for path in names] == [False, True, True]
    finally:
        for segment in segments:
            segment.close()
            with contextlib.suppress(FileNotFoundError):
                segment.unlink()
        resource_tracker.unregister(f"/{segments[0].name}", "shared_memory")


def test_second_driver_is_refused_with_the_process_of_the_first(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with (
        studio_lock.lock(lock, tmp_path, print),
        pytest.raises(UsageError, match=rf"process {os.getpid()}\)"),
        studio_lock.lock(lock, tmp_path, print),
    ):
        pass
    with studio_lock.lock(lock, tmp_path, print):
        assert len(studio_lock.list_descriptors()) == 1
    assert studio_lock.list_descriptors() == []


def test_inherited_lock_outlives_the_driver(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    program = "import sys; print('ready', flush=True); sys.stdin.read()"
    with studio_lock.lock(lock, tmp_path, print):
        child = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=studio_lock.list_descriptors(),
        )
        assert child.stdout
        assert child.stdout.readline()
    with lock.open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    child.communicate()
    with lock.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
