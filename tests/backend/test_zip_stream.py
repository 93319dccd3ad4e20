# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the zip archives that are written as a stream: their announced size, and that other programs read them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noslop_backend.archive.selection import check_files, read_archive, select_files
from noslop_backend.archive.zip_stream import Member, measure, stream
from noslop_backend.core.errors import ContentChangedError, NotFoundError
from noslop_backend.services import ProjectStorage

from tests.backend.studio import Studio, png

#: Takes the part of 2 GiB here.
SMALL_LIMIT = 1000
SIZES = st.integers(0, 3 * SMALL_LIMIT) | st.integers(SMALL_LIMIT - 60, SMALL_LIMIT + 60)


def read(member: Member) -> Iterator[bytes]:
    """Yield a content of the member's size, in pieces."""
    content = member.path.encode() * (member.size_bytes // len(member.path.encode()) + 1)
    for start in range(0, member.size_bytes, 700):
        yield content[: member.size_bytes][start : start + 700]


def check_archive(members: list[Member]) -> None:
    """Assert that an archive has the announced size, and that `zipfile` reads its members."""
    content = b"".join(stream(members, read))
    assert measure(members) == len(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [member.path for member in members]
        assert [archive.read(member.path) for member in members] == [b"".join(read(member)) for member in members]


@given(st.lists(SIZES, max_size=6), st.dates().map(lambda day: datetime(day.year, day.month, day.day, tzinfo=UTC)))
def test_the_announced_size_is_the_size_beyond_the_limits_of_zip_too(sizes: list[int], moment: datetime) -> None:
    members = [Member(f"{'é' * (number % 2)}{number}", size, moment) for number, size in enumerate(sizes)]
    check_archive(members)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipfile, "ZIP64_LIMIT", SMALL_LIMIT)
        check_archive(members)


def test_more_files_than_the_format_once_counted_are_read() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
        for count in range(2, 6):
            check_archive([Member(str(number), 1, moment) for number in range(count)])


def test_what_happens_to_files_while_they_are_read(studio: Studio, storage: ProjectStorage, project: str) -> None:
    files = [storage.save_generated_media(project, f"{number}.png", png(number)) for number in range(3)]
    selection = select_files(storage, project)
    whole = b"".join(read_archive(storage, selection))
    assert len(whole) == selection.archive_bytes
    storage.trash(project, [files[1].id])
    check_files(storage, selection, 0)
    assert b"".join(read_archive(storage, selection)) == whole
    path = studio.root / project / files[2].path
    path.chmod(0o644)
    path.write_bytes(png(2) + b"more")
    with pytest.raises(ContentChangedError):
        b"".join(read_archive(storage, selection))
    path.write_bytes(png(2))
    path.chmod(0o444)
    storage.purge(project, [files[1].id])
    with pytest.raises(NotFoundError):
        check_files(storage, selection, 0)
    with pytest.raises(FileNotFoundError):
        b"".join(read_archive(storage, selection))
