# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that `models search` shows what each source has, and where the studio has it, with a stand-in for the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from noslop_driver.commands.models.state import RESULTS
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.models import StudioSettings
from noslop_driver.workflows import templates
from tests.support.driver_cli import Done, run_json
from tests.support.model_server import ModelServer, serving_models
from tests.support.plays import local_inventory

DIGESTS = {"here": "a" * 64, "other": "b" * 64}
QUERIES = ("api/models?search=z_image&limit=10&full=true", "api/v1/models?query=z_image&limit=10")
SCHNELL = "flux1-schnell-fp8.safetensors"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving_models() as server:
        yield server


@pytest.fixture
def studio(tmp_path: Path, server: ModelServer) -> StudioDirectory:
    studio = StudioDirectory(local_inventory(tmp_path / "inventory", ["here"]))
    studio.make_state_dir()
    address = server.url("")[:-1]
    models = [
        {"folder": "vae", "file": "mine.safetensors", "url": server.url("z_image/mine"), "sha256": DIGESTS["here"]},
        {"folder": "checkpoints", "url": server.url(SCHNELL)},
    ]
    studio.write_settings(StudioSettings(studio_id="abc", models=models, models_hub=address, models_market=address))
    row = {"path": "vae/mine.safetensors", "state": "fetched", "size": 5, "sha256": DIGESTS["here"], "received": 5}
    studio.write_state(RESULTS, json.dumps({"vae/mine.safetensors": {**row, "message": ""}}))
    return studio


def search(studio: StudioDirectory, *words: str) -> tuple[dict[str, Any], Done]:
    return run_json("models", "search", *words, "--inventory", str(studio.path))


def test_sources_are_shown_with_what_the_studio_has_of_them(studio: StudioDirectory, server: ModelServer) -> None:
    files = [
        {"rfilename": f"{name}.safetensors", "size": 1_500_000_000, "lfs": {"sha256": DIGESTS[name]}}
        for name in ("here", "other")
    ]
    about = {"id": "artist/z_image", "siblings": files, "cardData": {"license": "mit"}, "gated": "manual"}
    server.add_json(QUERIES[0], [about])
    server.add_json("api/models/artist/z_image?blobs=true", about)
    version = {"id": 7, "name": "v1", "files": [{"name": "mine.safetensors", "sizeKB": 1}]}
    server.add_json(QUERIES[1], {"items": [{"name": "Z_Image", "type": "LORA", "modelVersions": [version]}]})
    output, done = search(studio, "z_image")
    assert (output["exit_code"], output["problems"]) == (0, {}), done
    rows = {row["source"]: row for row in output["models"]}
    own = rows[server.url("z_image/mine")]
    assert (own["where"], own["catalogue"], own["fetched"], own["size"]) == (
        "catalogue", "vae/mine.safetensors", True, 5,
    )  # fmt: skip
    # The same content under another name is here, and other content is not.
    assert rows["hub:artist/z_image/here.safetensors"]["catalogue"] == "vae/mine.safetensors"
    assert rows["hub:artist/z_image/other.safetensors"]["catalogue"] == ""
    # Without a checksum the name decides.
    assert (rows["civitai:7"]["catalogue"], rows["civitai:7"]["size"]) == ("vae/mine.safetensors", 1024)
    template = next(row for row in output["models"] if row["where"] == "templates")
    assert template["source"].startswith("hub:Comfy-Org/")
    assert "Z-Image" in template["about"]
    assert "1.5 GB" in done.stderr
    assert "mit (gated)" in done.stderr


def test_source_that_does_not_answer_is_named_and_the_others_are_shown(
    studio: StudioDirectory, server: ModelServer
) -> None:
    server.add(QUERIES[1].replace("z_image", "schnell"), b"<html>")
    output, done = search(studio, "schnell")
    assert output["exit_code"] == 0
    assert sorted(output["problems"]) == ["hub", "marketplace"]
    assert "The hub was not searched: " in done.stderr
    row, *more = output["models"]
    assert (row["where"], row["catalogue"], row["fetched"]) == ("catalogue", f"checkpoints/{SCHNELL}", False)
    assert f"here as checkpoints/{SCHNELL}, not fetched" in done.stderr
    assert {row["where"] for row in more} == {"templates"}


def test_limit_counts_for_each_source_and_the_rest_is_named(studio: StudioDirectory) -> None:
    output, done = search(studio, "safetensors", "--limit", "2")
    assert [row["where"] for row in output["models"]] == ["catalogue", "catalogue", "templates", "templates"]
    assert "more of the templates: --limit shows them." in done.stderr


def test_without_the_templates_the_command_that_installs_them_is_named(
    studio: StudioDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "PACKAGE", "a_package_that_is_not_installed")
    output, done = search(studio, "no_such_model")
    assert output["models"] == []
    assert "pip install 'noslop[templates]'" in done.stderr
    assert "Nothing matches all of these words." in done.stderr
