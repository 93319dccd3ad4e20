# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that a worker wrote on the share become files of a project, without a byte being copied."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3
from noslop_backend.core.errors import (
    ContentChangedError,
    ContentMismatchError,
    LeaseLostError,
    NotFoundError,
    QuotaExceededError,
    UnsafePathError,
    UnsupportedMediaError,
)
from noslop_backend.schemas import ProjectUpdate
from noslop_backend.services import ProjectStorage
from noslop_backend.share.layout import FileKind

from tests.backend.studio import Studio, png


def adopted(storage: ProjectStorage, project: str, content: bytes, name: str = "a") -> tuple[str, Path]:
    ticket = storage.reserve_adoption(project, None, name, len(content))
    Path(ticket.staging_path).write_bytes(content)
    return ticket.ticket_id, Path(ticket.staging_path)


def test_a_file_on_the_share_is_adopted_without_moving_a_byte(studio: Studio, project: str) -> None:
    storage, content = studio.storage, png(3, {"prompt": "{}"})
    ticket = storage.reserve_adoption(project, FileKind.IMAGE, "Cat", len(content), parameters={"a": 1}, key="k")
    assert (
        storage.reserve_adoption(project, FileKind.IMAGE, "Cat", len(content), parameters={"a": 1}, key="k") == ticket
    )
    assert storage.get_project(project).reserved_bytes == len(content)
    with pytest.raises(NotFoundError):
        storage.adopt(project, ticket.ticket_id)
    path = Path(ticket.staging_path)
    path.write_bytes(content)
    inode = path.stat().st_ino
    with pytest.raises(ContentMismatchError):
        storage.adopt(project, ticket.ticket_id, expected_blake3="0" * 64)
    saved = storage.adopt(project, ticket.ticket_id, expected_blake3=blake3(content).hexdigest())
    assert (studio.root / project / saved.path).stat().st_ino == inode
    assert not path.exists()
    assert studio.another().adopt(project, ticket.ticket_id) == saved
    assert storage.load_metadata(project, saved.id)["embedded"] == {"prompt": {}}
    with pytest.raises(LeaseLostError):
        storage.renew_adoption(project, ticket.ticket_id)
    studio.check(project)


def test_a_ticket_that_is_given_back_leaves_nothing(studio: Studio, project: str) -> None:
    storage = studio.storage
    intent, path = adopted(storage, project, png())
    assert storage.renew_adoption(project, intent).reserved_bytes == len(png())
    storage.release_adoption(project, intent)
    assert not path.exists()
    for call in (storage.adopt, storage.renew_adoption):
        with pytest.raises(LeaseLostError):
            call(project, intent)
    studio.check(project)


def test_what_is_no_media_is_not_adopted_as_such(studio: Studio, project: str) -> None:
    storage = studio.storage
    intent, path = adopted(storage, project, b"hello")
    with pytest.raises(UnsupportedMediaError):
        storage.adopt(project, intent)
    assert path.exists()
    storage.release_adoption(project, intent)
    ticket = storage.reserve_adoption(project, FileKind.LATENT, "x.safetensors", 5)
    Path(ticket.staging_path).write_bytes(b"hello")
    assert storage.adopt(project, ticket.ticket_id).path.endswith(".safetensors")
    studio.check(project)


def test_links_and_odd_files_are_not_adopted(studio: Studio, project: str, place: Path) -> None:
    storage, content = studio.storage, png()
    outside = place / "outside.png"
    outside.write_bytes(content)

    def plant_link(path: Path) -> None:
        path.symlink_to(outside)

    def plant_second_name(path: Path) -> None:
        path.hardlink_to(outside)

    def plant_fifo(path: Path) -> None:
        os.mkfifo(path)

    def plant_directory(path: Path) -> None:
        path.mkdir()

    for plant in (plant_link, plant_second_name, plant_fifo, plant_directory):
        ticket = storage.reserve_adoption(project, None, "m", len(content))
        path = Path(ticket.staging_path)
        plant(path)
        with pytest.raises(UnsafePathError):
            storage.adopt(project, ticket.ticket_id)
        if path.is_dir():
            path.rmdir()
        storage.release_adoption(project, ticket.ticket_id)
    assert outside.read_bytes() == content
    studio.check(project)


@pytest.mark.parametrize("change", ["append", "overwrite", "truncate"])
def test_a_file_that_changes_while_it_is_adopted_is_not_kept(
    studio: Studio, project: str, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The worker did not close it: it writes between the hash and the link, which is when we let it.

    All in one tick of the file system's clock, so that its time says nothing of the second write.
    """
    storage, content = studio.storage, png()
    intent, path = adopted(storage, project, content)
    written = path.stat()
    with path.open("r+b", buffering=0) as worker:
        real: Callable[..., None] = os.link

        def link(src: str, dst: str, **where: int) -> None:
            if src.startswith("/proc/self/fd/"):
                if change == "truncate":
                    worker.truncate(10)
                else:
                    worker.seek(0, os.SEEK_END if change == "append" else os.SEEK_SET)
                    worker.write(b"changed")
                os.utime(worker.fileno(), ns=(written.st_atime_ns, written.st_mtime_ns))
            real(src, dst, **where)

        monkeypatch.setattr(os, "link", link)
        with pytest.raises(ContentChangedError):
            storage.adopt(project, intent)
        monkeypatch.undo()
    assert storage.get_project_files(project).items == []
    studio.check(project)


def test_a_name_that_is_swapped_while_it_is_adopted_changes_nothing(
    studio: Studio, project: str, monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    """What is published is the descriptor that was hashed, not whatever its name leads to by then."""
    storage, content = studio.storage, png()
    outside = place / "outside.png"
    outside.write_bytes(png(9))
    intent, path = adopted(storage, project, content)
    real: Callable[..., None] = os.link

    def link(src: str, dst: str, **where: int) -> None:
        if src.startswith("/proc/self/fd/"):
            path.rename(place / "taken")
            path.symlink_to(outside)
        real(src, dst, **where)

    monkeypatch.setattr(os, "link", link)
    saved = storage.adopt(project, intent)
    with storage.open_file(project, saved.id) as opened:
        assert opened.stream.read() == content
    assert outside.read_bytes() == png(9)
    studio.check(project)


def test_an_adopted_file_that_is_larger_than_reserved_still_has_to_fit(studio: Studio, project: str) -> None:
    storage = studio.storage
    storage.update_project_metadata(project, ProjectUpdate(quota_bytes=100))
    ticket = storage.reserve_adoption(project, FileKind.LATENT, "x", 50)
    Path(ticket.staging_path).write_bytes(b"x" * 101)
    with pytest.raises(QuotaExceededError):
        storage.adopt(project, ticket.ticket_id)
    Path(ticket.staging_path).unlink()
    Path(ticket.staging_path).write_bytes(b"x" * 100)
    assert storage.adopt(project, ticket.ticket_id).size_bytes == 100
    studio.check(project)


def test_other_files_are_adopted_and_tracks_are_looked_at(studio: Studio, project: str) -> None:
    storage = studio.storage
    (studio.root / project / "generated" / "other").rmdir()
    handler = b"\0\0\0\x18hdlr" + bytes(8) + b"soun" + bytes(4)
    media = (8 + len(handler)).to_bytes(4) + b"mdia" + handler
    trak = (8 + len(media)).to_bytes(4) + b"trak" + media
    moov = (8 + len(trak)).to_bytes(4) + b"moov" + trak
    sound = b"\0\0\0\x10ftypisom" + bytes(4) + (8 + 10_000).to_bytes(4) + b"mdat" + bytes(10_000) + moov
    for name, content, kind in (("a.xyz", bytes(99), "other"), ("b", sound, "audio")):
        ticket = storage.reserve_adoption(project, None, name, len(content))
        Path(ticket.staging_path).write_bytes(content)
        assert storage.adopt(project, ticket.ticket_id).kind == kind
        assert storage.save_generated_media(project, name, content).kind == kind
    studio.check(project)
