# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what a verification says of the models of the catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, Checks, is_note
from ansible_collections.noslop.studio.plugins.module_utils.checks.model_checks import (
    Catalogue,
    check_comfyui_models,
    check_intact,
    note_ollama_models,
)
from ansible_collections.noslop.studio.plugins.module_utils.models import record, sample
from ansible_collections.noslop.studio.plugins.module_utils.models.warm import Share

FILES = ("loras/sdxl/style.safetensors", "checkpoints/painter.safetensors")


def check(share: Path, answers: Mapping[str, tuple[Any, str]], files: Sequence[str] = FILES) -> Checks:
    checks = Checks("worker")
    catalogue = Catalogue(files, share=str(share))
    check_comfyui_models(checks, catalogue, lambda folder, _: answers[folder], "run the services playbook again")
    return checks


def put(share: Path, *paths: str) -> None:
    for path in paths:
        (share / path).parent.mkdir(parents=True, exist_ok=True)
        (share / path).touch()


def test_files_that_comfyui_offers_pass(tmp_path: Path) -> None:
    put(tmp_path, *FILES)
    answers = {"loras": (["sdxl/style.safetensors", "other"], ""), "checkpoints": (["painter.safetensors"], "")}
    (one,) = check(tmp_path, answers).list
    assert (one["check"], one["ok"]) == ("services.comfyui_models", True)
    assert one["seen"].endswith("(2)")


@pytest.mark.parametrize(
    ("answer", "observed"),
    [(([], ""), "does not offer loras/sdxl/style.safetensors"), ((None, "answered 404"), "answered 404")],
)
def test_file_on_the_share_that_comfyui_does_not_offer_fails(
    tmp_path: Path, answer: tuple[Any, str], observed: str
) -> None:
    put(tmp_path, FILES[0])
    failed, note = check(tmp_path, {"loras": answer}).list
    assert (failed["ok"], observed in failed["seen"]) == (False, True)
    assert "noslop_models" in failed["todo"]
    assert is_note(note)
    assert FILES[1] in note["seen"]


def test_what_is_not_fetched_yet_is_a_note(tmp_path: Path) -> None:
    passed, note = check(tmp_path, {}).list
    assert (passed["ok"], is_note(note)) == (True, True)
    assert "not fetched yet: loras/sdxl/style.safetensors, checkpoints/painter.safetensors" in note["seen"]
    assert "noslop-driver models pull" in note["seen"]


def test_studio_without_a_catalogue_has_no_such_check(tmp_path: Path) -> None:
    assert check(tmp_path, {}, ()).list == []


def test_model_that_ollama_does_not_list_is_a_note() -> None:
    checks = Checks("worker")
    note_ollama_models(checks, Catalogue(ollama=["a:1b", "b:latest"]), ["b:latest"])
    (note,) = checks.list
    assert (is_note(note), "a:1b" in note["seen"], "b:latest" in note["seen"]) == (True, True, False)


def test_damaged_file_of_the_daily_check_fails_until_it_is_moved_away(tmp_path: Path) -> None:
    record_dir, path = tmp_path / "record", tmp_path / "share" / FILES[0]
    put(tmp_path / "share", *FILES)
    shares = {"comfyui_models": Share("comfyui_models", str(tmp_path / "share"), None)}

    def run() -> list[Check]:
        checks = Checks("server")
        check_intact(checks, shares, str(record_dir))
        return checks.list

    assert run() == [], "it has not run yet"
    record.write(str(record_dir), {})
    empty = hashlib.sha256(b"").hexdigest()
    sample.check(sample.Catalogue({FILES[0]: "0" * 64, FILES[1]: empty}), shares, 0, str(record_dir))
    sample.check(sample.Catalogue({FILES[0]: "0" * 64, FILES[1]: empty}), shares, 0, str(record_dir))
    (failed,) = run()
    assert (failed["check"], failed["ok"]) == ("services.models_intact", False)
    assert f"{path} of {FILES[0]} is damaged" in failed["seen"]
    assert f"move {path} away on server, and run 'noslop-driver models pull'" in failed["todo"]
    path.unlink()
    (passed,) = run()
    assert passed["ok"]
    assert passed["seen"].startswith("1 files are what they were, the last one was read on 2")
