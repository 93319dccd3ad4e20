# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that what is in memory of a file is measured, and that only the rest is read: with the kernel's own answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.models import page_cache

from tests.support.page_cache import evict, write_cold

BLOCK = page_cache.BLOCK_BYTES
SIZE = 5 * BLOCK + 4097
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = page_cache.open_file(str(path))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def count(path: Path) -> int:
    with opened(path) as descriptor:
        return page_cache.count_resident(descriptor, path.stat().st_size)


def read(path: Path) -> int:
    with opened(path) as descriptor:
        return page_cache.read_missing(descriptor, path.stat().st_size)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_cold(tmp_path / "model", os.urandom(SIZE))
    return tmp_path / "model"


def test_file_that_is_read_is_in_memory_and_a_second_run_reads_nothing(file: Path) -> None:
    assert count(file) == 0
    assert read(file) == SIZE
    assert count(file) == SIZE
    assert read(file) == 0
    evict(file)
    assert count(file) == 0


def test_only_blocks_that_are_not_in_memory_are_read(file: Path) -> None:
    with file.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # no read-ahead
        os.pread(stream.fileno(), BLOCK, 2 * BLOCK)
    assert count(file) == BLOCK
    assert read(file) == SIZE - BLOCK


def test_windows_are_measured_one_after_the_other(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_cache, "WINDOW_BYTES", 2 * BLOCK)
    assert count(file) == 0
    assert 0 < read(file) <= SIZE
    assert count(file) == SIZE
    assert read(file) == 0


def test_empty_file_is_in_memory(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert (count(tmp_path / "empty"), read(tmp_path / "empty")) == (0, 0)


def test_file_that_became_shorter_is_an_error(file: Path) -> None:
    with opened(file) as descriptor:
        os.truncate(file, BLOCK)
        with pytest.raises(OSError, match=f"ended at {BLOCK} bytes"):
            page_cache.read_missing(descriptor, SIZE)


def test_reader_that_is_killed_leaves_what_it_read_and_the_next_one_reads_the_rest(tmp_path: Path) -> None:
    file, size = tmp_path / "large", 64 * BLOCK  # the kernel reads some megabytes ahead
    write_cold(file, os.urandom(size))

    def work() -> None:
        def report(count: int) -> None:
            if count == 2 * BLOCK:
                os._exit(9)

        with opened(file) as descriptor:
            page_cache.read_missing(descriptor, size, report)

    assert worker_processes.run_one(work, None, 60).error == "the worker process ended without an answer"
    assert 2 * BLOCK <= count(file) < size
    assert 0 < read(file) <= size - 2 * BLOCK
    assert count(file) == size


def test_anything_else_than_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="this is no file"):
        page_cache.open_file(str(tmp_path / "pipe"))


@root_only
def test_file_of_another_account_is_refused_because_the_kernel_would_report_it_as_warm(file: Path) -> None:
    for directory in (file.parent, *file.parent.parents[:2]):
        directory.chmod(0o755)
    file.chmod(0o644)
    other = worker_processes.account_for(9, 9)  # news, on every Debian
    outcome = worker_processes.run_one(lambda: page_cache.open_file(str(file)), other, 60)
    assert "shows only its owner" in outcome.error
