# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the names that files are saved under outside the studio: the user's own, and safe on every system."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noslop_backend.share.file_names import NAME_LIMIT_BYTES, DistinctPaths, ascii_name, portable_name
from noslop_backend.share.layout import split_extension

from tests.backend.attacks import hostile_names

EXTENSIONS = st.sampled_from(["png", "jpg", "json", "abcdefghijkl"])


@pytest.mark.parametrize(
    ("name", "extension", "saved_as", "in_ascii"),
    [
        ("h.png", "png", "h.png", "h.png"),
        ("photo.jpeg", "jpg", "photo.jpeg", "photo.jpeg"),
        ("photo.JPG", "jpg", "photo.JPG", "photo.JPG"),
        ("scan.tiff", "tif", "scan.tiff", "scan.tiff"),
        ("song.oga", "ogg", "song.oga", "song.oga"),
        ("x.wav", "png", "x.wav.png", "x.wav.png"),
        ("take 2", "mp4", "take 2.mp4", "take 2.mp4"),
        ("..", "png", "file.png", "file.png"),
        (". .", "png", "file.png", "file.png"),
        (".png", "png", "file.png", "file.png"),
        (".hidden", "txt", "hidden.txt", "hidden.txt"),
        ("x.png. ", "png", "x.png", "x.png"),
        ("../../etc/passwd", "png", "_.._etc_passwd.png", "_.._etc_passwd.png"),
        ("C:\\windows\\x.png", "png", "C__windows_x.png", "C__windows_x.png"),
        ("con.png", "png", "_con.png", "_con.png"),
        ("LPT1", "txt", "_LPT1.txt", "_LPT1.txt"),
        ("a\u202egnp.exe", "png", "agnp.exe.png", "agnp.exe.png"),
        ("Ka\u0308se.png", "png", "Käse.png", "Kase.png"),
        ("Привет.JPEG", "jpg", "Привет.JPEG", "Privet.JPEG"),
        ("東京.png", "png", "東京.png", "DongJing.png"),
        ('"; filename=evil.exe', "png", "_; filename=evil.exe.png", "__ filename_evil.exe.png"),
        ("100%25", "png", "100%25.png", "100_25.png"),
    ],
)
def test_a_file_is_saved_under_the_name_that_the_user_gave(
    name: str, extension: str, saved_as: str, in_ascii: str
) -> None:
    assert portable_name(name, extension) == saved_as
    assert ascii_name(name, extension) == in_ascii


@pytest.mark.parametrize("letter", ["猫", "é", "e\u0301", "👩\u200d🎨", "x", "Ж"])
def test_long_names_are_cut_at_a_character(letter: str) -> None:
    name = portable_name(letter * 200, "png")
    assert len(name.encode()) <= NAME_LIMIT_BYTES
    assert len(name.encode()) == len(letter * 200) + 4 or len(name.encode()) > NAME_LIMIT_BYTES - 15
    whole = unicodedata.normalize("NFC", letter * 200)
    assert whole.startswith(name.removesuffix(".png"))
    assert not name.removesuffix(".png").endswith("\u200d")


def check_portable(name: str, extension: str) -> None:
    """Assert that a name is one visible file on every system, of the type that its content has."""
    assert 1 < len(name.encode()) <= NAME_LIMIT_BYTES
    assert not re.search(r'[\x00-\x1f\x7f/\\:*?"<>|\u202a-\u202e\ud800-\udfff]', name)
    assert not name.startswith((".", " "))
    assert not name.endswith((".", " "))
    assert split_extension(name, extension)[1] != ""
    assert name.split(".", maxsplit=1)[0].strip().upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}


@given(st.text(st.characters(), max_size=200), EXTENSIONS)
def test_every_name_becomes_a_portable_one(name: str, extension: str) -> None:
    check_portable(portable_name(name, extension), extension)
    plain = ascii_name(name, extension)
    check_portable(plain, extension)
    assert plain.isascii()
    assert not set(plain) & set("%;=\"'\\") - {"'"}
    # Saved and sent in again, a name stays what it is.
    assert portable_name(portable_name(name, extension), extension) == portable_name(name, extension)


@given(
    st.lists(st.sampled_from(["a", "A", "a (2)", "e\u0301", "\u00e9", "", "x" * 300, "con"]) | st.text(), max_size=30),
    st.sampled_from(["", "_v0001"]),
)
def test_paths_of_one_folder_are_distinct_on_every_system(names: list[str], mark: str) -> None:
    paths = DistinctPaths()
    allocated = [paths.allocate("images", name, "png", mark) for name in names]
    folded = {unicodedata.normalize("NFD", path).casefold() for path in allocated}
    assert len(folded) == len(names)
    for path in allocated:
        folder, _, name = path.rpartition("/")
        assert folder == "images"
        assert mark in name
        check_portable(name, "png")


def test_twins_are_numbered_behind_what_belongs_to_the_name() -> None:
    paths = DistinctPaths()
    allocated = [paths.allocate("w", name, "json", "_v0002") for name in ("Load", "load", "Load (2).json", "x" * 300)]
    assert allocated[:3] == ["w/Load_v0002.json", "w/load_v0002 (2).json", "w/Load (2)_v0002.json"]
    assert allocated[3].endswith("x_v0002.json")


def test_hostile_names_become_portable_ones() -> None:
    for name in hostile_names():
        check_portable(portable_name(name, "png"), "png")
        check_portable(ascii_name(name, "png"), "png")
