# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walks over a project: every file once, nothing through a link, and names that nobody can read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from noslop_backend.core.errors import UnsafePathError
from noslop_backend.maintenance.reconcile import reconcile
from noslop_backend.services import ProjectStorage
from noslop_backend.share import scan
from noslop_backend.share.litter import Litter
from pydantic import ValidationError

from tests.backend.studio import Studio, png

IMAGES = "generated/images"


@pytest.mark.parametrize("size", [1, 3, 7, 8, 1000])
def test_every_file_is_seen_once_whatever_the_pieces(
    storage: ProjectStorage, studio: Studio, project: str, size: int
) -> None:
    top = studio.root / project / IMAGES
    for number in range(7):
        (top / f"{number}.png").write_bytes(b"x" * number)
    os.link(top / "3.png", top / "again.png")
    with storage.share() as share:
        pieces = list(scan.pieces(share, project, IMAGES, size))
    assert [len(piece.entries) for piece in pieces] == [size] * (8 // size) + ([8 % size] if 8 % size else [])
    seen = {entry.name: entry for piece in pieces for entry in piece.entries}
    assert len(seen) == 8
    for name, entry in seen.items():
        said = (top / name).stat()
        assert entry == (name, said.st_size, said.st_mtime_ns, said.st_ino, said.st_nlink)
    assert {entry.links for entry in seen.values()} == {1, 2}


def test_what_is_no_file_is_a_stranger_and_leads_nowhere(storage: ProjectStorage, studio: Studio, project: str) -> None:
    top = studio.root / project / IMAGES
    (top / "link.png").symlink_to(studio.root / ".noslop-share")
    (top / "deeper").mkdir()
    (top / "deeper/below.png").write_bytes(b"x")
    os.mkfifo(top / "pipe.png")
    (top / ".nfs00012").write_bytes(b"x")
    with storage.share() as share:
        (piece,) = scan.pieces(share, project, IMAGES)
        assert (piece.entries, sorted(piece.misplaced)) == ([], ["deeper", "link.png", "pipe.png"])
        assert list(scan.pieces(share, project, "final")) == []
        (top.parent / "audio").rmdir()
        assert list(scan.pieces(share, project, "generated/audio")) == []
        (top.parent / "audio").symlink_to("images")
        with pytest.raises(UnsafePathError, match="generated/audio"):
            list(scan.pieces(share, project, "generated/audio"))


LITTERED = (".DS_Store", "._a.png", "@eaDir", "#recycle", "Thumbs.db", "desktop.ini", ".nfs0001", "lost+found")


def put_litter(top: Path) -> None:
    """Leave what storage and desktop systems leave, some of it as directories with files in them."""
    for name in LITTERED:
        if name[0] in "@#l":
            (top / name).mkdir()
            (top / name / "file").write_bytes(b"x")
        else:
            (top / name).write_bytes(b"x")


def test_litter_is_passed_over_and_stays(studio: Studio, project: str) -> None:
    kept = studio.storage.save_generated_media(project, "A picture", png(1))
    tops = [studio.root / project / each for each in (".", IMAGES, "generated", ".trash")] + [studio.root]
    for top in tops:
        put_litter(top)
    for _ in range(2):
        report = reconcile(studio.storage, apply=True, apart_s=0)
        assert (report.findings, report.files_count, report.waiting_count) == ([], 2, 0)
    assert all((top / name).exists() for top in tops for name in LITTERED)
    assert studio.storage.get_file(project, kept.id) == kept


def test_the_list_of_litter_can_be_set_and_never_hides_a_file(studio: Studio, project: str) -> None:
    storage = studio.another(litter_names="*.png, *.tmp,metadata.json,*")
    kept = storage.save_generated_media(project, "A picture", png(1))
    (studio.root / project / IMAGES / "x.tmp").write_bytes(b"x")
    (studio.root / project / IMAGES / kept.path.rpartition("/")[2]).unlink()
    for _ in range(2):
        report = reconcile(storage, apply=True, apart_s=0)
    assert [(each.path, each.outcome) for each in report.findings] == [(kept.path, "missing")]
    with pytest.raises(ValidationError, match="no name"):
        studio.settings(litter_names="a/b")


@pytest.mark.parametrize("name", ["a-0123456789abc.png", "._a", ".nfs", "@eaDir", "photo.jpg", "generated", ".staging"])
def test_only_names_of_the_list_are_litter(name: str) -> None:
    assert Litter().matches(name) == (name in {"._a", ".nfs", "@eaDir"})
    assert not Litter(()).matches(name)


def test_a_name_that_is_not_utf8_stops_nobody(studio: Studio, project: str) -> None:
    kept = studio.storage.save_generated_media(project, "A picture", png(1))
    for directory in (IMAGES, "."):
        with open(os.fsencode(studio.root / project / directory) + b"/caf\xe9.png", "wb") as stream:
            stream.write(png(2))
    os.symlink("nowhere", os.fsencode(studio.root / project / IMAGES) + b"/\xff")
    (studio.root / project / IMAGES / "café.png").write_bytes(png(3))
    for _ in range(2):
        report = reconcile(studio.storage, apply=True, apart_s=0)
    found = {finding.path: finding.outcome for finding in report.findings}
    assert found == {
        "caf\\xe9.png": "stranger",
        f"{IMAGES}/caf\\xe9.png": "stranger",
        f"{IMAGES}/\\xff": "stranger",
        f"{IMAGES}/café.png": "left",
    }
    assert studio.storage.get_file(project, kept.id) == kept
