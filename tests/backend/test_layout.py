# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and paths: whatever a user types, nothing leaves its project, hides, or meets something else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noslop_backend.share import layout
from noslop_backend.share.layout import DOCUMENTS, INTERMEDIATE, FileKind

from tests.backend.attacks import hostile_names

KINDS = sorted(set(FileKind) - {FileKind.SIDECAR})
IDS = st.binary(min_size=8, max_size=8).map(layout.encode_id)
EXTENSIONS = st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True)
PORTABLE = re.compile(r"[a-z0-9][a-z0-9._-]*")


def check_inside(path: str, kind: FileKind) -> None:
    """Assert that a path is one plain file in the directory of its kind, on every kind of file system."""
    directory, name = path.rsplit("/", 1)
    assert directory == layout.DIRECTORY[kind]
    assert os.path.normpath(path) == path
    assert PORTABLE.fullmatch(name), path
    assert len(name) <= 143  # what eCryptfs leaves; NTFS, ext4 and NFS allow 255
    assert not name.endswith(".")
    assert name.split(".")[0].upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT1"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_hostile_names_stay_in_their_project(kind: FileKind) -> None:
    names = hostile_names()
    assert len(names) >= 1000
    version = 1 if kind in DOCUMENTS else None
    for number, name in enumerate(names):
        check_inside(layout.path(kind, name, layout.encode_id(number.to_bytes(8, "big")), "png", version), kind)


def test_project_ids_of_hostile_names_are_one_directory() -> None:
    for number, name in enumerate(hostile_names()):
        made = layout.project_id(name, number.to_bytes(5, "big"))
        assert PORTABLE.fullmatch(made)
        assert "." not in made
        assert layout.is_project_id(made)


@given(st.text(), IDS, EXTENSIONS, st.sampled_from(KINDS), st.integers(1, 99_999))
def test_every_path_is_read_back(title: str, file_id: str, extension: str, kind: FileKind, version: int) -> None:
    number = version if kind in DOCUMENTS else None
    path = layout.path(kind, title, file_id, extension, number)
    check_inside(path, kind)
    for where, trashed in ((path, False), (layout.trash(path), True)):
        parsed = layout.parse(where)
        assert parsed is not None
        assert (parsed.kind, parsed.file_id, parsed.version, parsed.trashed) == (kind, file_id, number, trashed)
        assert (parsed.extension, parsed.revision, parsed.describes) == (extension, 0, "")
    assert layout.ids_in_text(f'{{"image": "{path}"}}') == {file_id}


def _escape(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


@pytest.mark.parametrize(
    "write",
    [
        str.upper,
        lambda path: path.replace("/", "\\"),
        lambda path: f'"{_escape(path)}"',
        lambda path: json.dumps(json.dumps({"nodes": f'"{_escape(path)}"'})),
        lambda path: f'"{path.replace("-", _escape("-"))}"',
        lambda path: quote(path, safe=""),
        lambda path: "".join(f"%{ord(character):02X}" for character in path),
        lambda path: quote(quote(path.replace(".", "%2e"), safe=""), safe=""),
    ],
)
def test_names_are_found_however_they_are_written(write: Callable[[str], str]) -> None:
    path = "intermediate/latents/a-cat-0123456789abc.latent"
    assert layout.ids_in_text(f"before {write(path)} behind") == {"0123456789abc"}


@pytest.mark.parametrize("piece", ["\\", "%", "%25", "\\u00", "-\\u0030", "%2d0"])
def test_a_text_of_escapes_mentions_nothing(piece: str) -> None:
    assert layout.ids_in_text(piece * 200_000) == set()


@given(st.text(), IDS, st.sampled_from(KINDS), st.integers(1, 20_000))
def test_sidecars_are_read_back_beside_their_file(title: str, file_id: str, kind: FileKind, revision: int) -> None:
    path = layout.path(kind, title, file_id, "png", 7 if kind in DOCUMENTS else None)
    sidecar = layout.sidecar(path, revision)
    assert os.path.dirname(sidecar) == os.path.dirname(path)
    parsed = layout.parse(sidecar)
    if kind in INTERMEDIATE:
        assert parsed is None
    else:
        assert parsed is not None
        assert (parsed.kind, parsed.describes, parsed.revision) == (FileKind.SIDECAR, path, revision)


@given(st.text())
def test_ids_are_what_the_server_makes_and_nothing_else(text: str) -> None:
    assert layout.is_file_id(text) == bool(re.fullmatch(r"[0-9a-hjkmnp-tv-z]{13}", text))
    if layout.is_project_id(text):
        assert PORTABLE.fullmatch(text)
        assert "." not in text


@pytest.mark.parametrize("name", hostile_names())
def test_hostile_text_is_no_id_and_no_path(name: str) -> None:
    assert not layout.is_file_id(name)
    assert not layout.is_project_id(name)
    assert layout.parse(name) is None
    assert layout.staging_intent(name) is None
    assert not layout.INTENT_ID.fullmatch(name)


@given(st.text(alphabet=st.sampled_from("a./\0\\ é"), max_size=12))
def test_split_gives_plain_names_or_refuses(text: str) -> None:
    try:
        parts = layout.split(text)
    except ValueError:
        return
    assert all(part and part not in {".", ".."} and "/" not in part and "\0" not in part for part in parts)


@given(st.sets(st.binary(min_size=8, max_size=8), min_size=2, max_size=50))
def test_different_bytes_make_different_ids(raw: set[bytes]) -> None:
    assert len({layout.encode_id(one) for one in raw}) == len(raw)


@given(st.text(max_size=300))
def test_names_that_are_allowed_survive_both_databases(title: str) -> None:
    if not layout.title_problem(title):
        assert title.encode().decode() == title
        assert "\0" not in title
        assert 1 <= len(title) <= layout.TITLE_LIMIT


def test_names_are_only_refused_for_a_reason() -> None:
    for name in ("A film", "../../etc/passwd", "con", "Überblick", "日本語", "a" * 200, "👩‍🎨", "x\u202ey", ". ."):
        assert layout.title_problem(name) == ""
    for name in ("", "   ", "a" * 201, "a\0b", "a\nb", "\ud800", "\u2028"):
        assert layout.title_problem(name) != ""


def test_a_name_that_ends_in_the_extension_does_not_say_it_twice() -> None:
    assert layout.path(FileKind.IMAGE, "Cat.PNG", "0" * 13, "png") == f"generated/images/cat-{'0' * 13}.png"


def test_a_made_up_intent_has_no_staging_path() -> None:
    for name in ("../x", "", "a" * 31, "A" * 32):
        with pytest.raises(ValueError, match="no intent"):
            layout.staging(name)
