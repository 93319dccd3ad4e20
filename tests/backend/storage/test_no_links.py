# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A share without hard links, as some file systems that are shared already are: files get their names by a rename.

An audit hook (PEP 578) refuses each link on the share as such a file system does.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from noslop_backend.core.errors import ConflictError
from noslop_backend.schemas import ProjectCreate
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind
from noslop_backend.share.no_links import NO_LINKS, rename_new

from tests.backend.studio import Studio, png

_here = threading.local()


def _hook(event: str, words: tuple[Any, ...]) -> None:
    number = getattr(_here, "number", None)
    # What lies on the share is named from an open directory; nothing else is.
    if number is not None and event == "os.link" and words[-1] >= 0:
        raise OSError(number, os.strerror(number))


sys.addaudithook(_hook)


@contextmanager
def links_refused(number: int = errno.EPERM) -> Iterator[None]:
    """Refuse every hard link of this thread on the share."""
    _here.number = number
    try:
        yield
    finally:
        _here.number = None


@pytest.mark.parametrize("number", sorted(NO_LINKS - {errno.EXDEV}))
def test_a_project_lives_its_whole_life(studio: Studio, number: int) -> None:
    storage = studio.storage
    with links_refused(number):
        project = storage.create_project_structure(ProjectCreate(name="A film"), key="p").id
        image = storage.save_generated_media(project, "m", png(1), key="m")
        storage.save_workflow(project, "w", {"n": 1}, key="w")
        storage.save_intermediate(project, FileKind.MASK, "i", b"mask", key="i")
        storage.save_metadata(project, image.id, {"rating": 5}, key="s")
        final = storage.promote_to_final(project, image.id, name="f")
        studio.check(project)
        storage.trash(project, [image.id])
        studio.check(project)
        storage.restore(project, [image.id])
        storage.trash(project, [image.id])
        storage.purge(project, [image.id])
        studio.check(project)

    assert (studio.root / project / final.path).read_bytes() == png(1)
    assert list((studio.root / project / layout.STAGING).iterdir()) == []


def test_a_final_is_a_copy_that_counts(studio: Studio, project: str) -> None:
    with links_refused():
        image = studio.storage.save_generated_media(project, "m", png(1))
        final = studio.storage.promote_to_final(project, image.id)

    one, other = ((studio.root / project / path).stat() for path in (image.path, final.path))
    assert one.st_ino != other.st_ino
    assert one.st_nlink == other.st_nlink == 1
    studio.check(project)


def test_a_rename_replaces_no_file(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "other").write_bytes(b"other")
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(ConflictError, match="is there already"):
            rename_new(descriptor, "one", descriptor, "other", "other")
    finally:
        os.close(descriptor)
    assert (tmp_path / "other").read_bytes() == b"other"
    assert (tmp_path / "one").read_bytes() == b"one"


def test_a_file_that_a_worker_wrote_is_not_adopted(studio: Studio, project: str) -> None:
    ticket = studio.storage.reserve_adoption(project, None, "t", 1000)
    Path(ticket.staging_path).write_bytes(png(2))

    with links_refused(), pytest.raises(ConflictError, match="Upload the file instead"):
        studio.storage.adopt(project, ticket.ticket_id)
    assert Path(ticket.staging_path).read_bytes() == png(2)
