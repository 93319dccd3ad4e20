# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that each day other models are read, and that a damaged one is reported until it is repaired."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.models import page_cache, record, sample, warm
from ansible_collections.noslop.studio.plugins.module_utils.models.sample import Candidate, Catalogue, Result
from ansible_collections.noslop.studio.plugins.module_utils.models.warm import Share

from tests.support.ollama_models import write_model
from tests.support.page_cache import write_cold

SIZE = 100_000
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")


class Studio:
    """Shares of models, and the record of a storage server."""

    def __init__(self, root: Path) -> None:
        self.record = str(root / "record")
        self.shares = {name: Share(name, str(root / name), None) for name in (warm.FILES, warm.BLOBS)}
        self.files: dict[str, str] = {}
        self.ollama: list[str] = []
        for share in self.shares.values():
            Path(share.path).mkdir()
        Path(self.record).mkdir()

    def path(self, name: str) -> Path:
        return Path(self.shares[warm.FILES].path, name)

    def add(self, *names: str, size: int = SIZE) -> None:
        for name in names:
            content = os.urandom(size)
            write_cold(self.path(name), content)
            self.files[name] = hashlib.sha256(content).hexdigest()

    def damage(self, name: str) -> str:
        """Change a byte. Return the SHA-256 that the file has then."""
        content = bytearray(self.path(name).read_bytes())
        content[-1] ^= 1
        write_cold(self.path(name), bytes(content))
        return hashlib.sha256(content).hexdigest()

    def check(self, limit: int = 10 * SIZE) -> Result:
        return sample.check(Catalogue(self.files, self.ollama), self.shares, limit, self.record)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


@pytest.mark.parametrize(
    ("limit", "chosen"),
    [(0, ["never"]), (7, ["never", "old"]), (8, ["never", "old", "new"]), (99, ["never", "old", "large", "new"])],
)
def test_files_that_were_not_read_for_longest_come_first(limit: int, chosen: list[str]) -> None:
    sizes = {"new": (1, 30.0), "old": (2, 10.0), "large": (50, 20.0), "never": (5, 0.0)}
    candidates = [Candidate("share", name, "", size, at, name) for name, (size, at) in sizes.items()]
    assert [one.path for one in sample.choose(candidates, limit)] == chosen


def test_each_day_reads_other_files_until_all_were_read(studio: Studio) -> None:
    studio.add("a", "b", "c")
    days = [studio.check(2 * SIZE).verified for _ in range(3)]
    assert days == [["a", "b"], ["c", "a"], ["b", "c"]]


def test_file_that_was_fetched_or_verified_lately_comes_later(studio: Studio) -> None:
    studio.add("a", "b")
    entry = record.make_entry(studio.files["a"], "", studio.path("a").stat())
    record.write(studio.record, {"a": entry})
    assert studio.check(SIZE).verified == ["b"]


def test_damaged_file_is_reported_each_day_and_the_others_are_read(studio: Studio) -> None:
    studio.add("a", "b", "c")
    actual = studio.damage("b")
    first = studio.check()
    assert (first.verified, [damage.path for damage in first.damaged]) == (["a", "c"], [str(studio.path("b"))])
    assert f"its SHA-256 is {actual}, and was {studio.files['b']}" in first.damaged[0].message
    second = studio.check(SIZE)
    assert (second.verified, second.damaged) == (["a"], first.damaged), "it is not read again"
    assert sample.read_damaged(studio.record, studio.shares) == first.damaged


def test_damage_ends_when_the_file_is_replaced_or_was_verified_since(studio: Studio) -> None:
    studio.add("a", "b", "c")
    for name in studio.files:
        studio.damage(name)
    assert len(studio.check().damaged) == 3
    studio.path("a").unlink()
    studio.add("b")
    status = studio.path("c").stat()
    record.write(studio.record, {"c": record.make_entry(studio.files["c"], "", status)})
    assert sample.read_damaged(studio.record, studio.shares) == []
    assert studio.check().verified == ["b"], "c is noticed again"


def test_blobs_of_ollama_are_compared_with_their_names(studio: Studio) -> None:
    store = Path(studio.shares[warm.BLOBS].path)
    size = write_model(store, "painter:1b", os.urandom(SIZE))
    write_model(store, "writer:1b", os.urandom(SIZE))
    studio.ollama = ["painter:1b", "writer:1b", "not-pulled:1b"]
    assert studio.check(size).size <= size + 1
    assert len(studio.check(10 * SIZE).verified) == 4
    blob = max((store / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:-1])
    (damage,) = studio.check(10 * SIZE).damaged
    assert damage.path == str(blob)
    assert damage.model in studio.ollama


@root_only
def test_file_that_cannot_be_read_is_reported_and_the_others_are_read(studio: Studio, tmp_path: Path) -> None:
    studio.add("a", "b")
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    studio.path("a").chmod(0o600)
    account = worker_processes.account_for(9, 9)  # news, on every Debian
    studio.shares[warm.FILES] = replace(studio.shares[warm.FILES], account=account)
    result = studio.check()
    assert result.verified == ["b"]
    assert f"{studio.path('a')} of a cannot be read: Permission denied. Look at" in result.damaged[0].message


def test_recorded_checksum_stands_in_where_the_catalogue_has_none(studio: Studio) -> None:
    studio.add("a", "unknown")
    entry = record.make_entry(studio.files["a"], "", studio.path("a").stat(), 1.0)
    record.write(studio.record, {"a": entry})
    studio.files = {"a": "", "unknown": "", "not there": "0" * 64}
    assert studio.check().verified == ["a"]
    studio.damage("a")
    assert [damage.model for damage in studio.check().damaged] == ["a"]


def test_check_leaves_in_memory_what_was_there_and_nothing_else(studio: Studio) -> None:
    studio.add("cold", "warm", size=2_000_000)
    studio.path("warm").read_bytes()
    studio.check()

    def resident(name: str) -> int:
        descriptor = page_cache.open_file(str(studio.path(name)))
        try:
            return page_cache.count_resident(descriptor, 2_000_000)
        finally:
            os.close(descriptor)

    assert (resident("warm"), resident("cold")) == (2_000_000, 0)


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"a": {"path": "x"}}'])
def test_damaged_record_is_read_as_none(studio: Studio, content: str) -> None:
    studio.add("a")
    for name in ("damaged.json", record.CHECKED, record.FETCHED):
        Path(studio.record, name).write_text(content)
    assert studio.check().verified == ["a"]


def test_files_that_are_not_there_are_not_compared(studio: Studio) -> None:
    studio.add("a", "b")
    studio.path("a").unlink()
    assert studio.check().verified == ["b"]
