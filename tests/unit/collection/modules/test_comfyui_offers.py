# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a host's ComfyUI is asked, with a stand-in for it, and that only what was asked for is returned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.modules import comfyui_offers

from tests.support.comfyui_server import FOLDERS, ComfyUI, serving_comfyui
from tests.support.module_runner import run_module


@pytest.fixture
def comfyui(tmp_path: Path) -> Iterator[ComfyUI]:
    for name in ("checkpoints/painter.safetensors", "loras/sdxl/style.safetensors", "loras/other.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with serving_comfyui(tmp_path) as server:
        yield server


def ask(server: ComfyUI, **arguments: object) -> dict[str, Any]:
    return run_module("comfyui_offers", {"port": server.port, **arguments})


def test_answer_has_what_was_asked_for_and_nothing_else(comfyui: ComfyUI) -> None:
    answer = ask(
        comfyui,
        classes=["CheckpointLoaderSimple", "LoraLoader", "SaveImage", "VAELoader", "Missing"],
        files=["painter.safetensors", "style.safetensors", "missing.safetensors"],
    )
    assert answer["changed"] is False
    assert answer["comfyui_offers"] == {
        "version": "0.33.0",
        "classes": {
            "CheckpointLoaderSimple": {"ckpt_name": ["checkpoints"]},
            "LoraLoader": {"lora_name": ["loras"]},
            "SaveImage": {},
            "VAELoader": {"vae_name": []},
        },
        "files": {"checkpoints": ["painter.safetensors"], "loras": ["sdxl/style.safetensors"]},
        "unreadable": {},
    }


def test_answer_stays_small_however_large_the_description_is(comfyui: ComfyUI) -> None:
    comfyui.others = [f"Node{number}" for number in range(20_000)]
    assert len(json.dumps(ask(comfyui, classes=["Node7"], files=["painter.safetensors"]))) < 2_000


def test_check_mode_asks_the_same(comfyui: ComfyUI) -> None:
    arguments = {"port": comfyui.port, "classes": ["VAELoader"]}
    assert run_module("comfyui_offers", arguments, check=True) == run_module("comfyui_offers", arguments)


def test_folder_that_cannot_be_listed_is_named(comfyui: ComfyUI) -> None:
    comfyui.answers["/models/vae"] = (500, {})
    offers = ask(comfyui, files=["painter.safetensors"])["comfyui_offers"]
    assert offers["files"] == {"checkpoints": ["painter.safetensors"]}
    assert list(offers["unreadable"]) == ["vae"]
    assert "500" in offers["unreadable"]["vae"]


def test_expected_file_is_waited_for(comfyui: ComfyUI) -> None:
    comfyui.late["loras"] = "new.safetensors"
    offers = ask(comfyui, files=["new.safetensors"], expected=["loras/new.safetensors"])["comfyui_offers"]
    assert offers["files"] == {"loras": ["new.safetensors"]}
    assert {folder: comfyui.requests.count(f"/models/{folder}") for folder in FOLDERS} == {
        **dict.fromkeys(FOLDERS, 1),
        "loras": 2,
    }


def test_expected_file_that_does_not_come_is_not_waited_for_for_ever(comfyui: ComfyUI) -> None:
    offers = ask(comfyui, files=["new.safetensors"], expected=["loras/new.safetensors"], timeout=0)["comfyui_offers"]
    assert offers["files"] == {}


@pytest.mark.parametrize(
    ("path", "answer", "message"),
    [
        ("/system_stats", (200, b"<html>"), "something that is not JSON"),
        ("/system_stats", (200, []), "is no ComfyUI"),
        ("/system_stats", (200, {"system": "text"}), "is no ComfyUI"),
        ("/models", (200, {}), "is no ComfyUI"),
        ("/object_info", (500, {}), "answered 500"),
    ],
)
def test_what_is_no_comfyui_fails_with_the_reason(
    comfyui: ComfyUI, path: str, answer: tuple[int, Any], message: str
) -> None:
    comfyui.answers[path] = answer
    failed = ask(comfyui)
    assert (failed["failed"], message in failed["msg"]) == (True, True), failed


def test_host_without_comfyui_fails_with_the_unit_to_look_at(comfyui: ComfyUI, tmp_path: Path) -> None:
    with serving_comfyui(tmp_path) as other:
        port = other.port
    failed = run_module("comfyui_offers", {"port": port})
    assert "systemctl status noslop-comfyui.service" in failed["msg"]


def test_documented_example_runs(comfyui: ComfyUI) -> None:
    (task,) = yaml.safe_load(comfyui_offers.EXAMPLES)
    answer = ask(comfyui, **task["noslop.studio.comfyui_offers"])
    assert list(answer["comfyui_offers"]["classes"]) == ["CheckpointLoaderSimple", "KSampler"]
