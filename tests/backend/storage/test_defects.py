# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each defect of the program that came before this one: a test that fails on it."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Iterator

import pytest
from noslop_backend.core.errors import InvalidRequestError, NotFoundError
from noslop_backend.services import ProjectStorage
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind
from sqlalchemy import event

from tests.backend.studio import Studio, png


def test_saving_a_workflow_again_overwrites_nothing(studio: Studio, project: str) -> None:
    """It defaulted to version 1 and overwrote."""
    first = studio.storage.save_workflow(project, "w", {"n": 1})
    before = (studio.root / project / first.path).read_bytes()
    second = studio.storage.save_workflow(project, "w", {"n": 2})
    assert (first.version, second.version) == (1, 2)
    assert (studio.root / project / first.path).read_bytes() == before


def test_media_of_one_second_do_not_collide(studio: Studio, project: str) -> None:
    """Names had a resolution of one second."""
    saved = [studio.storage.save_generated_media(project, "same.png", png(number)) for number in range(5)]
    assert len({file.path for file in saved}) == 5
    for number, file in enumerate(saved):
        assert (studio.root / project / file.path).read_bytes() == png(number)


def test_a_large_file_is_never_held_in_memory(studio: Studio, project: str) -> None:
    """Whole files were. 64 MiB go through, and far less than that is ever allocated."""

    def pieces() -> Iterator[bytes]:
        yield b"RIFF\0\0\0\0WAVEfmt "
        for _ in range(64):
            yield os.urandom(1024) * 1024

    storage = studio.storage
    storage.start()
    tracemalloc.start()
    saved = storage.save_generated_media(project, "a", pieces())
    with storage.open_file(project, saved.id) as opened:
        while opened.stream.read(1024 * 1024):
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert saved.size_bytes == 64 * 1024 * 1024 + 16
    assert peak < 16 * 1024 * 1024


def test_audio_is_counted_as_audio(studio: Studio, project: str) -> None:
    """It went to `audios/`, so `audio_count` stayed 0."""
    saved = studio.storage.save_generated_media(project, "a", b"fLaC" + b"\0" * 100)
    assert saved.path.startswith("generated/audio/")
    assert studio.storage.get_storage_stats(project).audio_count == 1


def test_sidecars_lie_beside_their_media_and_are_no_images(studio: Studio, project: str) -> None:
    """Every one landed in generated/images and was counted as an image."""
    storage = studio.storage
    for content in (b"fLaC" + b"\0" * 100, b"\0\0\0\x20ftypisom" + b"\0" * 100):
        saved = storage.save_generated_media(project, "m", content)
        sidecar = storage.save_metadata(project, saved.id, {"a": 1})
        assert os.path.dirname(sidecar.path) == os.path.dirname(saved.path)
    assert list((studio.root / project / "generated/images").iterdir()) == []
    stats = storage.get_storage_stats(project)
    assert (stats.image_count, stats.media_count) == (0, 2)


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "..", "a/../../b", "..\\..\\x"])
def test_project_ids_sources_and_new_names_never_leave_the_project(studio: Studio, project: str, name: str) -> None:
    """`project_id`, `source_path` and `new_name` were never checked."""
    storage = studio.storage
    media = storage.save_generated_media(project, "m", png())
    with pytest.raises(NotFoundError):
        storage.save_generated_media(name, "m", png())
    with pytest.raises((NotFoundError, InvalidRequestError)):
        storage.promote_to_final(project, name)
    final = storage.promote_to_final(project, media.id, name=name)
    top = studio.root / project
    assert (top / final.path).resolve().parent == (top / "final").resolve()
    assert {path.name for path in studio.root.iterdir()} == {project, layout.MARKER}


def test_what_is_being_written_is_not_seen(studio: Studio, project: str) -> None:
    """Writes were not atomic: half a file had its final name."""
    body = b"RIFF\0\0\0\0WAVEfmt " + b"x" * 200_000
    seen: set[bytes] = set()
    over = threading.Event()
    top = studio.root / project / "generated"

    def watch() -> None:
        while not over.is_set():
            seen.update(path.read_bytes() for path in top.rglob("*.wav"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    pieces = (body[at : at + 1000] for at in range(0, len(body), 1000))
    studio.storage.save_generated_media(project, "a", pieces)
    over.set()
    watcher.join()
    assert seen <= {body}


def test_statistics_neither_walk_the_tree_nor_count_rows(studio: Studio, project: str) -> None:
    """They walked the tree on each call."""
    storage = studio.storage

    def statements() -> list[str]:
        said: list[str] = []

        def listen(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            said.append(statement)

        event.listen(storage.database.engine, "before_cursor_execute", listen)
        storage.get_storage_stats(project)
        storage.get_store_stats()
        event.remove(storage.database.engine, "before_cursor_execute", listen)
        return said

    def rows(service: ProjectStorage) -> int:
        return len(service.get_storage_stats(project).kinds)

    storage.save_intermediate(project, FileKind.FRAME, "f", b"x")
    few, before = statements(), rows(storage)
    for number in range(10):
        storage.save_intermediate(project, FileKind.FRAME, f"f{number}", b"x")
    assert statements() == few
    assert rows(storage) == before
    assert not any("FROM file" in statement for statement in few)
    # The share may be away.
    studio.root.rename(studio.root.parent / "away")
    assert storage.get_storage_stats(project).intermediate_count == 11
    (studio.root.parent / "away").rename(studio.root)
