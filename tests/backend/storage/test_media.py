# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Media and intermediates: saved, described, promoted."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3
from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import (
    ContentMismatchError,
    InProgressError,
    InvalidRequestError,
    KeyReusedError,
    NotFoundError,
    QuotaExceededError,
    UnsafePathError,
    UnsupportedMediaError,
)
from noslop_backend.schemas import ProjectUpdate
from noslop_backend.share.layout import FileKind

from tests.backend.studio import Studio, png

CONTENTS = [
    (png(), FileKind.IMAGE, "png"),
    (b"\xff\xd8\xff\xe0" + b"x" * 20, FileKind.IMAGE, "jpg"),
    (b"RIFF\x20\0\0\0WEBPVP8 " + b"x" * 20, FileKind.IMAGE, "webp"),
    (b"GIF89a" + b"x" * 20, FileKind.IMAGE, "gif"),
    (b"\0\0\0\x20ftypavif" + b"x" * 20, FileKind.IMAGE, "avif"),
    (b"\0\0\0\x20ftypisom" + b"x" * 20, FileKind.VIDEO, "mp4"),
    (b"\0\0\0\x14ftypqt  " + b"x" * 20, FileKind.VIDEO, "mov"),
    (b"\x1a\x45\xdf\xa3\x87B\x82\x84webm" + b"x" * 20, FileKind.VIDEO, "webm"),
    (b"\x1a\x45\xdf\xa3\x8bB\x82\x88matroska" + b"x" * 20, FileKind.VIDEO, "mkv"),
    (b"RIFF\x20\0\0\0AVI LIST" + b"x" * 20, FileKind.VIDEO, "avi"),
    (b"RIFF\x20\0\0\0WAVEfmt " + b"x" * 20, FileKind.AUDIO, "wav"),
    (b"fLaC" + b"x" * 20, FileKind.AUDIO, "flac"),
    (b"ID3\4" + b"x" * 20, FileKind.AUDIO, "mp3"),
    (b"\xff\xfb\x90\x64" + b"x" * 20, FileKind.AUDIO, "mp3"),
    (b"OggS" + b"\0" * 24 + b"OpusHead", FileKind.AUDIO, "opus"),
    (b"\0\0\0\x20ftypM4A " + b"x" * 20, FileKind.AUDIO, "m4a"),
]


def test_each_type_goes_where_it_belongs_by_its_content(studio: Studio, project: str) -> None:
    storage = studio.storage
    for content, kind, extension in CONTENTS:
        # The name lies: the content decides.
        saved = storage.save_generated_media(project, "x.wav", content)
        assert (saved.kind, saved.path.rsplit(".", 1)[1]) == (kind, extension)
    stats = storage.get_storage_stats(project)
    assert (stats.image_count, stats.video_count, stats.audio_count, stats.media_count) == (5, 5, 6, 16)
    studio.check(project)


def test_other_files_are_kept_like_media(studio: Studio, project: str) -> None:
    """Also in a project of a version that had no place for them."""
    storage, place = studio.storage, studio.root / project / "generated" / "other"
    place.rmdir()
    one = storage.save_generated_media(project, "scene.blend", bytes(99), parameters={"a": 1})
    assert (one.kind, one.content_type, one.path) == (
        *("other", "application/octet-stream"),
        f"generated/other/scene-{one.id}.blend",
    )
    named = storage.save_generated_media(project, "a layered one", b"8BPS\0\1" + bytes(99))
    picture = storage.save_generated_media(project, "m.png", png(), kind=FileKind.OTHER)
    assert (named.kind, picture.kind, picture.content_type) == ("other", "other", "image/png")
    assert storage.load_metadata(project, one.id)["parameters"] == {"a": 1}
    final = storage.promote_to_final(project, one.id)
    assert (final.kind, final.path) == ("final", f"final/scene-{final.id}.blend")
    storage.trash(project, [named.id])
    stats = storage.get_storage_stats(project)
    assert (stats.other_count, stats.media_count, stats.trash_count) == (2, 3, 1)
    storage.restore(project, [named.id])
    studio.check(project)


def test_bytes_streams_and_pieces_are_the_same(studio: Studio, project: str) -> None:
    storage, content = studio.storage, png(5)
    pieces = (content[at : at + 7] for at in range(0, len(content), 7))
    for given in (content, io.BytesIO(content), pieces):
        saved = storage.save_generated_media(project, "m", given)
        assert (saved.blake3, saved.size_bytes) == (blake3(content).hexdigest(), len(content))
        with storage.open_file(project, saved.id) as opened:
            assert opened.stream.read() == content
    studio.check(project)


def test_what_was_announced_has_to_come(studio: Studio, project: str) -> None:
    storage, content = studio.storage, png()
    for length, digest in ((len(content) - 1, None), (len(content) + 1, None), (None, "0" * 64)):
        with pytest.raises(ContentMismatchError):
            storage.save_generated_media(project, "m", iter([content]), length=length, expected_blake3=digest)
    for kind in (FileKind.VIDEO, FileKind.AUDIO):
        with pytest.raises(UnsupportedMediaError):
            storage.save_generated_media(project, "m", content, kind=kind)
    for nonsense in (b"", b"hello", b"#!/bin/sh\n", b"\0" * 100):
        with pytest.raises(UnsupportedMediaError):
            storage.save_generated_media(project, "m.png", nonsense)
    for kind in (FileKind.FINAL, FileKind.LATENT, FileKind.WORKFLOW, FileKind.SIDECAR):
        with pytest.raises(InvalidRequestError):
            storage.save_generated_media(project, "m", content, kind=kind)
    with pytest.raises(InvalidRequestError):
        storage.save_intermediate(project, FileKind.IMAGE, "m", content)
    with pytest.raises(InvalidRequestError):
        storage.save_generated_media(project, "m", iter([content]), length=-1)
    with pytest.raises(InvalidRequestError):
        storage.save_generated_media(project, "m", content, expected_blake3="X")
    assert storage.get_project_files(project).items == []
    studio.check(project)


def test_a_stream_that_breaks_leaves_nothing(studio: Studio, project: str) -> None:
    def broken() -> object:
        yield png()
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        studio.storage.save_generated_media(project, "m", broken(), key="k")  # type: ignore[arg-type]  # a generator
    with studio.storage.begin_generated_media(project, "m", key="k") as upload:
        upload.write(png())
    studio.check(project)
    assert studio.tree(project).keys() == {"metadata.json"}
    # The key is free again.
    assert studio.storage.save_generated_media(project, "m", png(), key="k").size_bytes == len(png())


def test_an_unknown_length_is_reserved_in_steps_and_stops_at_the_quota(studio: Studio, project: str) -> None:
    storage = studio.another(reserve_step_bytes=1000)
    storage.update_project_metadata(project, ProjectUpdate(quota_bytes=5500))
    body = png() + b"x" * 4000
    with storage.begin_intermediate(project, FileKind.FRAME, "f") as upload:
        for at in range(0, len(body), 100):
            upload.write(body[at : at + 100])
            held = storage.get_project(project).reserved_bytes
            assert at + 100 <= held <= at + 1100
        saved = upload.finish()
    assert saved.size_bytes == len(body)
    with pytest.raises(QuotaExceededError) as refused:
        storage.save_generated_media(project, "m", iter([png(), b"x" * 10_000]))
    assert refused.value.scope == "project"
    studio.check(project)


def test_a_key_gives_one_file(studio: Studio, project: str) -> None:
    storage = studio.storage
    one = storage.save_generated_media(project, "m", iter([png()]), key="k")
    assert studio.another().save_generated_media(project, "m", iter([png()]), key="k") == one
    with pytest.raises(KeyReusedError):
        storage.save_generated_media(project, "other", iter([png()]), key="k")
    with pytest.raises(KeyReusedError):
        storage.save_workflow(project, "m", {}, key="k")
    for key in ("", "x" * 256, "a\0", "\ud800", "a\n"):
        with pytest.raises(InvalidRequestError):
            storage.save_generated_media(project, "m", png(), key=key)
    with storage.begin_generated_media(project, "m", key="open") as upload:
        with pytest.raises(InProgressError) as busy:
            storage.begin_generated_media(project, "m", key="open")
        assert 0 < busy.value.retry_after_s <= 60
        upload.write(png())
        upload.finish()
    assert len(storage.get_project_files(project).items) == 2
    studio.check(project)


def test_many_threads_save_under_one_name(studio: Studio, project: str) -> None:
    paths: list[str] = []

    def save(number: int) -> None:
        paths.append(studio.storage.save_generated_media(project, "same.png", png(number)).path)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 8
    studio.check(project)


def test_a_sidecar_says_everything_and_a_newer_one_counts(studio: Studio, project: str) -> None:
    storage = studio.storage
    mask = storage.save_intermediate(project, FileKind.MASK, "mask.png", png(1))
    text = {"prompt": '{"3": {"class_type": "KSampler"}}', "parameters": "steps 20", "empty": ""}
    saved = storage.save_generated_media(project, "Cat", png(2, text), parameters={"seed": 7}, inputs=[mask.id])
    known = storage.load_metadata(project, saved.id)
    assert known["embedded"]["prompt"] == {"3": {"class_type": "KSampler"}}
    assert known["embedded"]["parameters"] == "steps 20"
    assert (known["parameters"], known["inputs"]) == ({"seed": 7}, [mask.id])
    for name in ("id", "project_id", "kind", "path", "name", "size_bytes", "blake3", "content_type"):
        assert known["file"][name] == getattr(saved, name)
    second = storage.save_metadata(project, saved.id, {"seed": 8})
    assert second.path == f"{saved.path}.meta.0002.json"
    known = storage.load_metadata(project, saved.id)
    assert (known["parameters"], known["embedded"]["parameters"]) == ({"seed": 8}, "steps 20")
    assert storage.save_metadata(project, saved.id, {"seed": 9}, key="k").path.endswith(".meta.0003.json")
    assert storage.save_metadata(project, saved.id, {"seed": 9}, key="k").path.endswith(".meta.0003.json")
    assert len(storage.get_project_files(project, of_file_id=saved.id).items) == 3
    assert {row.kind for row in storage.get_project_files(project).items} == {FileKind.MASK, FileKind.IMAGE}
    with pytest.raises(InvalidRequestError):
        storage.save_metadata(project, mask.id, {})
    with pytest.raises(NotFoundError):
        storage.load_metadata(project, mask.id)
    studio.check(project)


def test_a_final_is_a_link_that_costs_nothing(studio: Studio, project: str) -> None:
    storage = studio.storage
    source = storage.save_generated_media(project, "m", png(), parameters={"seed": 1})
    finals = [storage.promote_to_final(project, source.id, name="Poster") for _ in range(3)]
    assert len({final.path for final in finals}) == 3
    assert {(final.charged_bytes, final.blake3, final.source_id) for final in finals} == {(0, source.blake3, source.id)}
    top = studio.root / project
    assert {(top / final.path).stat().st_ino for final in finals} == {(top / source.path).stat().st_ino}
    one = storage.promote_to_final(project, source.id, key="k")
    assert storage.promote_to_final(project, source.id, key="k") == one
    assert storage.load_metadata(project, finals[0].id)["parameters"] == {"seed": 1}
    for wrong in (
        storage.save_workflow(project, "w", {}).id,
        storage.get_project_files(project, of_file_id=source.id).items[0].id,
    ):
        with pytest.raises(InvalidRequestError):
            storage.promote_to_final(project, wrong)
    studio.check(project)


def test_a_final_lives_on_and_pays_when_its_source_goes(studio: Studio, project: str) -> None:
    storage = studio.storage
    latent = storage.save_intermediate(project, FileKind.LATENT, "x.latent", b"latent")
    final = storage.promote_to_final(project, latent.id)
    assert final.path.endswith(".latent")
    before = storage.get_project(project).used_bytes
    report = storage.cleanup_intermediate(project)
    assert (report.files_count, report.freed_bytes) == (1, 0)
    assert storage.get_project(project).used_bytes == before
    assert storage.get_file(project, final.id).charged_bytes == 6
    with storage.open_file(project, final.id) as opened:
        assert opened.stream.read() == b"latent"
    storage.trash(project, [final.id])
    assert storage.purge(project).freed_bytes == before
    assert storage.get_project(project).used_bytes == 0
    studio.check(project)


def test_links_that_are_swapped_in_lead_nowhere(studio: Studio, project: str, place: Path) -> None:
    """Directories of the layout are replaced by links to a place outside: nothing is written or removed there."""
    storage = studio.storage
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious.png").write_bytes(png())
    media = storage.save_generated_media(project, "m", png())
    calls: list[Callable[[str], object]] = [
        lambda _name: storage.save_generated_media(project, "n", png()),
        lambda name: storage.save_workflow(project, "w", {"n": name}),
        lambda _name: storage.trash(project, [media.id]),
    ]
    for name in ("generated/images", ".staging", "generated", ".trash", "workflows"):
        there = studio.root / project / name
        there.rename(place / "aside")
        there.symlink_to(elsewhere)
        failed = 0
        for call in calls:
            try:
                call(name)
            except UnsafePathError:
                failed += 1
        assert failed >= 1, name
        there.unlink()
        (place / "aside").rename(there)
        storage.recover()
        if storage.get_file(project, media.id).state == FileState.TRASHED:
            storage.restore(project, [media.id])
        assert [path.name for path in elsewhere.iterdir()] == ["precious.png"]
    studio.check(project)
