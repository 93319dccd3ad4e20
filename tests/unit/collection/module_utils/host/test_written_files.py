# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the record of what NoSlop wrote on a host."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host import written_files
from ansible_collections.noslop.studio.plugins.module_utils.host.written_files import Record, Table


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "written-files.json")


def test_what_is_written_is_added_replaced_and_removed(path: str) -> None:
    written_files.update({"/a": "1", "/b": "2"}, {"inet x": Table("3", "nft 1")}, path)
    written_files.update({"/a": "4", "/b": None, "/never": None}, path=path)
    assert written_files.read(path) == Record({"/a": "4"}, {"inet x": Table("3", "nft 1")})
    written_files.update({}, {"inet x": None}, path)
    assert written_files.read(path) == Record({"/a": "4"})
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600


def test_record_that_is_the_same_is_not_written_again(path: str) -> None:
    written_files.update({"/a": "1"}, path=path)
    before = Path(path).stat().st_ino
    written_files.update({"/a": "1", "/b": None}, path=path)
    assert Path(path).stat().st_ino == before


def test_nothing_is_recorded_on_a_host_of_no_studio(tmp_path: Path) -> None:
    written_files.update({"/a": "1"}, path=str(tmp_path / "missing/written-files.json"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"files": [], "tables": {}}', '{"files": {}, "tables": {"x": {}}}']
)
def test_damaged_record_counts_as_none_and_is_replaced(path: str, text: str) -> None:
    Path(path).write_text(text)
    assert written_files.read(path) == Record()
    written_files.update({"/a": "1"}, path=path)
    assert written_files.read(path) == Record({"/a": "1"})


def _add(path: str, number: int) -> None:
    written_files.update({f"/{number}": "1"}, path=path)


def test_concurrent_tasks_lose_nothing(path: str) -> None:
    tasks = [multiprocessing.get_context("fork").Process(target=_add, args=(path, number)) for number in range(20)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    assert set(written_files.read(path).files) == {f"/{number}" for number in range(20)}
