# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the zip archives that are written as a stream: their announced size, and that other programs read them."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noslop_backend.archive.selection import BATCH, check_files, read_archive, select_files
from noslop_backend.archive.zip_stream import Member, measure, stream
from noslop_backend.core.errors import ConflictError, ContentChangedError, NotFoundError
from noslop_backend.models import FileModel
from noslop_backend.schemas import FilePublic
from noslop_backend.services import ProjectStorage
from noslop_backend.share.layout import FileKind
from sqlalchemy import insert

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


def copy_rows(studio: Studio, project_id: str, file: FilePublic, count: int) -> None:
    """Add rows of other files with the content and the name of a file, and link it to their paths on the share."""
    row = next(each for each in studio.rows(project_id) if each.id == file.id)
    values = {name: getattr(row, name) for name in FileModel.model_fields}
    rows = []
    for number in range(count):
        file_id = studio.storage.new_id()
        path = row.path.replace(row.id, file_id)
        os.link(studio.root / project_id / row.path, studio.root / project_id / path)
        moment = row.created_at + timedelta(microseconds=number)
        rows.append(values | {"id": file_id, "content_id": file_id, "path": path, "created_at": moment})
    with studio.storage.database.write() as session:
        session.connection().execute(insert(FileModel), rows)


def test_an_archive_has_more_files_than_are_read_at_once(studio: Studio, storage: ProjectStorage, project: str) -> None:
    copy_rows(studio, project, storage.save_intermediate(project, FileKind.FRAME, "frame.png", png(1)), 2 * BATCH)
    with pytest.raises(ConflictError, match=f"more than {2 * BATCH} such files"):
        select_files(storage, project, files_limit=2 * BATCH)
    selection = select_files(storage, project)
    removed = studio.root / project / selection.files[-1].source
    check_files(storage, selection, 2 * BATCH)
    with zipfile.ZipFile(io.BytesIO(b"".join(read_archive(storage, selection)))) as archive:
        names = archive.namelist()
        assert len({name.lower() for name in names}) == len(names) == 2 * BATCH + 1
        assert {archive.read(name) for name in names} == {png(1)}
    removed.unlink()
    check_files(storage, selection, BATCH)
    with pytest.raises(NotFoundError, match=selection.files[-1].source):
        check_files(storage, selection, 2 * BATCH)


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
