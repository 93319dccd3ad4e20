# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the directories of a user's extra_model_paths.yaml are read as data."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.plugin_utils.extra_model_paths import ModelPath, parse_model_paths

TEXT = """\
# further disks
comfyui:
    base_path: /mnt/big/
    is_default: true
    checkpoints: models/checkpoints/
    clip: |
        models/clip/
        ../clip
own:
    loras: models/loras
    vae: /srv/vae
home:
    base_path: ~/models
    unet: unet
empty:
number: 1
"""


def test_directories_are_listed_with_their_folder() -> None:
    assert [(path.folder, path.path) for path in parse_model_paths(TEXT, "/home/artist/ComfyUI")] == [
        ("checkpoints", "/mnt/big/models/checkpoints"),
        ("clip", "/mnt/big/models/clip"),
        ("clip", "/mnt/clip"),
        ("loras", "/home/artist/ComfyUI/models/loras"),
        ("vae", "/srv/vae"),
        ("unet", "~/models/unet"),
    ]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "a: {base_path: /x}\n"])
def test_file_without_directories_has_none(text: str) -> None:
    assert parse_model_paths(text, "/srv") == []


def test_one_directory_is_listed_once() -> None:
    assert parse_model_paths("a: {vae: /v}\nb: {vae: /v/}\n", "/srv") == [ModelPath("vae", "/v")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a\n", "no sections"),
        ("a: [\n", "while parsing"),
        ("a: &x {vae: /v}\nb: *x\n", "aliases"),
        ("a: !!python/object/apply:os.system ['id']\n", "could not determine a constructor"),
        ("[" * 20000, "recursion"),
    ],
)
def test_what_is_no_such_file_is_a_problem(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_model_paths(text, "/srv")
