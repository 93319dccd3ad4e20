# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what `models need` reports of a studio and fetches, with stand-ins for ComfyUI on its host and for the hub."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from noslop_driver.inventory.directory import STUDIO, StudioDirectory
from noslop_driver.models import StudioSettings
from noslop_driver.workflows import templates
from tests.support.comfyui_server import ComfyUI, serving_comfyui
from tests.support.driver_cli import Done, run, run_json
from tests.support.model_server import COMMIT, ModelServer, make_safetensors, serving_models
from tests.support.model_studio import make_variables
from tests.support.plays import local_inventory

WORKFLOWS = Path(__file__).parents[4] / "support" / "workflows"
CONTENTS = {name: make_safetensors(20_000, name) for name in ("unet", "vae")}


class Studio(StudioDirectory):
    """A studio of this computer alone, with stand-ins for its ComfyUI and for the hub."""

    def __init__(self, root: Path, hub: ModelServer, comfyui: ComfyUI) -> None:
        self.hub, self.comfyui = hub, comfyui
        marker = {"studio_id": "abc", "share": "comfyui_models", "share_id": "1"}
        (comfyui.models / ".noslop-share").write_text(json.dumps(marker))
        variables = {**make_variables(root, comfyui.models), "comfyui_port": comfyui.port}
        super().__init__(local_inventory(root / "inventory", ["here"], **variables))
        groups = "storage_server: {hosts: {here: {}}}\ncomfyui: {hosts: {here: {}}}\n"
        (self.path / "groups.yml").write_text(groups, encoding="utf-8")
        self.make_state_dir()
        self.write_settings(
            StudioSettings(
                studio_id="abc",
                storage_root=str(root / "storage"),
                storage_provider="local",
                models_hub=hub.url("hub").removesuffix("/hub"),
            )
        )

    def need(self, workflow: str | Path, *words: str) -> tuple[dict[str, Any], Done]:
        return run_json("models", "need", str(workflow), "--inventory", str(self.path), *words)

    def put(self, *paths: str) -> None:
        for path in paths:
            (self.comfyui.models / path).parent.mkdir(parents=True, exist_ok=True)
            (self.comfyui.models / path).touch()


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    models = tmp_path / "storage/comfyui/models"
    models.mkdir(parents=True)
    with serving_models() as hub, serving_comfyui(models) as comfyui:
        yield Studio(tmp_path, hub, comfyui)


def add_subgraph_models(studio: Studio) -> None:
    """Serve the models of the workflow `subgraph`."""
    studio.hub.add_to_hub("artist/painter", "painter_vae.safetensors", CONTENTS["vae"])
    card = {"license": "openrail++"}
    file = "split/painter_unet.safetensors"
    studio.hub.add_to_hub("artist/painter", file, CONTENTS["unet"], cardData=card, gated="auto")


@pytest.mark.slow
@pytest.mark.long
def test_models_that_are_missing_are_fetched_with_pull_and_are_there_afterwards(studio: Studio) -> None:
    add_subgraph_models(studio)
    studio.comfyui.late["vae"] = "another.safetensors"
    path = studio.path / STUDIO
    path.write_text(f"# mine\n{path.read_text(encoding='utf-8')}", encoding="utf-8")
    output, done = studio.need(WORKFLOWS / "subgraph.json")
    assert output["exit_code"] == 1, done
    assert {row["folder"] + "/" + row["name"]: row["size"] for row in output["models"]} == {
        "diffusion_models/painter_unet.safetensors": len(CONTENTS["unet"]),
        "vae/painter_vae.safetensors": len(CONTENTS["vae"]),
    }
    assert [(row["licence"], row["gated"], row["state"]) for row in output["models"]] == [
        ("openrail++", True, "missing")
    ] * 2
    assert "hub:artist/painter/split/painter_unet.safetensors" in {row["source"] for row in output["models"]}
    assert output["hosts"] == [
        {
            "host": "here",
            "comfyui_version": "0.33.0",
            "is_too_old": False,
            "models": [row["name"] for row in output["models"]],
            "classes": [],
            "problem": "",
        }
    ]
    assert "--pull" in done.stderr
    assert "noslop_models: []" in path.read_text(encoding="utf-8")
    pulled, done = studio.need(WORKFLOWS / "subgraph.json", "--pull", "--yes")
    assert (pulled["exit_code"], pulled["models"]) == (0, []), done
    assert [row["state"] for row in pulled["fetched"]] == ["fetched", "fetched"]
    assert "2 models to fetch: 40.1 kB. Licences: openrail++." in done.stderr
    assert "painter_vae.safetensors is gated: accept its licence" in done.stderr
    written = path.read_text(encoding="utf-8")
    assert written.startswith("# mine\n")
    assert written.count(COMMIT) == 2
    models = studio.comfyui.models
    assert (models / "diffusion_models/painter_unet.safetensors").read_bytes() == CONTENTS["unet"]
    output, done = studio.need(WORKFLOWS / "subgraph.json")
    assert output["exit_code"] == 0
    assert "here (ComfyUI 0.33.0): has all that the workflow needs" in done.stderr
    assert "Nothing is missing." in done.stderr


@pytest.mark.slow
@pytest.mark.long
def test_model_of_the_catalogue_that_was_not_fetched_is_fetched_without_another_entry(studio: Studio) -> None:
    add_subgraph_models(studio)
    studio.put("vae/painter_vae.safetensors")
    done = run(
        *("models", "add", "hub:artist/painter/split/painter_unet.safetensors", "--folder", "diffusion_models"),
        *("--inventory", str(studio.path), "--no-run", "--yes"),
    )
    assert done.returncode == 0, done
    before = (studio.path / STUDIO).read_bytes()
    output, done = studio.need(WORKFLOWS / "subgraph.json")
    (row,) = output["models"]
    assert (row["state"], row["size"], row["hosts"]) == ("not fetched", len(CONTENTS["unet"]), ["here"])
    assert "in the catalogue, not fetched" in done.stderr
    pulled, done = studio.need(WORKFLOWS / "subgraph.json", "--pull", "--yes")
    assert (pulled["exit_code"], len(pulled["fetched"])) == (0, 1), done
    assert (studio.path / STUDIO).read_bytes() == before


def test_classes_that_are_missing_are_named_with_their_packs(studio: Studio) -> None:
    output, done = studio.need(WORKFLOWS / "custom_nodes.json")
    assert output["exit_code"] == 1
    assert [(row["name"], row["pack"], row["pack_version"], row["hosts"]) for row in output["classes"]] == [
        ("Painter Loader //Studio", "painter-pack", "1.2.0", ["here"]),
        ("BrushStroke", "artist/brushes", "0123456789012345678901234567890123456789", ["here"]),
        ("Nameless", "", "", ["here"]),
        ("NodeOfTomorrow", "comfy-core", "99.0.0", ["here"]),
        ("MixColours", "painter-pack", "1.2.0", ["here"]),
    ]
    assert output["made_with"] == "99.0.0"
    assert "gouache.safetensors cannot be fetched: the workflow names no address for it." in done.stderr
    assert "here (ComfyUI 0.33.0): lacks 1 model and 5 node classes" in done.stderr
    assert "was made with ComfyUI 99.0.0, and here runs 0.33.0" in done.stderr
    assert "noslop-driver nodes add" in done.stderr


def test_model_in_another_directory_is_missing_and_shown(studio: Studio) -> None:
    studio.put("checkpoints/painter.safetensors", "controlnet/pose.safetensors", "upscale_models/old/4x.pth")
    output, done = studio.need(WORKFLOWS / "api.json")
    (row,) = output["models"]
    assert (row["name"], row["elsewhere"]) == ("4x.pth", {"here": ["upscale_models/old/4x.pth"]})
    assert "here has upscale_models/old/4x.pth: choose that in the workflow" in done.stderr


def test_hostile_names_and_addresses_are_refused_before_any_request(studio: Studio) -> None:
    studio.comfyui.others = ["{{ 7 * 7 }}"]
    output, done = studio.need(WORKFLOWS / "hostile.json", "--pull", "--yes")
    assert output["exit_code"] == 1
    problems = {row["name"]: row["problem"] for row in output["models"] if row["problem"]}
    for name, message in (
        ("../../escape.safetensors", "no path below the models"),
        ("/etc/absolute.safetensors", "no path below the models"),
        ("nul\0.safetensors", "no path below the models"),
        ("\x1b[31mred\x1b[0m.safetensors", "no path below the models"),
        ("password.safetensors", "has a name or password in it"),
        ("local.safetensors", "is no address"),
        ("ftp.safetensors", "is no address"),
        ("token.safetensors", "has a token in it"),
        ("folder.safetensors", "no path below the models"),
        ("broken.safetensors", "IPv6"),
        ("program.py", "not that of a model's file"),
    ):
        assert message in problems[name], problems
    assert [row["name"] for row in output["classes"]] == ["\x1b]0;title\x07Escape"]
    assert studio.hub.requests == []
    assert not any("passw0rd" in text or "\x1b" in text for text in (done.stdout, done.stderr))


def test_host_that_cannot_be_asked_is_named_and_the_others_are_shown(studio: Studio) -> None:
    (studio.path / "groups.yml").write_text(
        "storage_server: {hosts: {here: {}}}\ncomfyui: {hosts: {here: {}, away: {comfyui_port: 1}}}\n",
        encoding="utf-8",
    )
    studio.put("checkpoints/painter.safetensors", "controlnet/pose.safetensors", "upscale_models/4x.pth")
    (studio.path / "host_vars").mkdir()
    variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (studio.path / "host_vars/away.yml").write_text(json.dumps(variables), encoding="utf-8")
    output, done = studio.need(WORKFLOWS / "api.json")
    assert output["exit_code"] == 1
    assert [(row["host"], row["models"], bool(row["problem"])) for row in output["hosts"]] == [
        ("here", [], False), ("away", [], True),
    ]  # fmt: skip
    assert "ComfyUI of this host cannot be asked" in done.stderr


@pytest.mark.long
def test_template_names_the_oldest_comfyui(studio: Studio) -> None:
    studio.comfyui.version = "0.3.10"
    output, done = studio.need("flux_dev_checkpoint_example")
    assert (output["exit_code"], output["min_version"], output["hosts"][0]["is_too_old"]) == (1, "0.3.42", True)
    assert "noslop-driver upgrade --to comfyui=0.3.42" in done.stderr


@pytest.mark.long
def test_hub_that_does_not_answer_is_asked_once_and_named(studio: Studio) -> None:
    with serving_models() as silent:
        address = silent.url("hub").removesuffix("/hub")
    settings = studio.read_settings() | {"models_hub": address}
    studio.write_settings(StudioSettings.model_validate(settings))
    output, _ = studio.need(WORKFLOWS / "subgraph.json", "--pull", "--yes")
    assert output["exit_code"] == 1
    first, second = (row["problem"] for row in output["models"])
    assert f"{address}/artist/painter/resolve/main/" in first
    assert second == first


@pytest.mark.long
def test_checksum_of_the_workflow_that_the_hub_does_not_have_is_refused(studio: Studio, tmp_path: Path) -> None:
    add_subgraph_models(studio)
    workflow = json.loads((WORKFLOWS / "subgraph.json").read_bytes())
    unet = workflow["definitions"]["subgraphs"][0]["nodes"][0]
    unet["properties"]["models"][0] |= {"hash": "0" * 64, "hash_type": "SHA256"}
    (tmp_path / "changed.json").write_text(json.dumps(workflow), encoding="utf-8")
    output, _ = studio.need(tmp_path / "changed.json")
    problems = {row["name"]: row["problem"] for row in output["models"]}
    assert problems["painter_vae.safetensors"] == ""
    assert "names the SHA-256 0000" in problems["painter_unet.safetensors"]


def test_answer_no_changes_nothing(studio: Studio) -> None:
    add_subgraph_models(studio)
    before = (studio.path / STUDIO).read_bytes()
    output, done = studio.need(WORKFLOWS / "subgraph.json", "--pull")
    assert output["exit_code"] == 2
    assert "needs an answer" in done.stderr
    assert (studio.path / STUDIO).read_bytes() == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.json", "There is no file nowhere.json"),
        ("flux_schnel", "Did you mean flux_schnell"),
        ("/", "There is no file /"),
        ("a\0b", "is no file, and none of the"),
    ],
)
def test_name_of_no_workflow_is_a_usage_error(studio: Studio, name: str, message: str) -> None:
    output, done = studio.need(name)
    assert (output["exit_code"], message in done.stderr) == (2, True), done
    assert studio.comfyui.requests == []


def test_without_the_templates_the_command_that_installs_them_is_named(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "PACKAGE", "a_package_that_is_not_installed")
    output, done = studio.need("flux_schnell")
    assert output["exit_code"] == 2
    assert "pip install 'noslop[templates]'" in done.stderr


def test_studio_without_comfyui_is_a_usage_error(studio: Studio) -> None:
    (studio.path / "groups.yml").write_text("storage_server: {hosts: {here: {}}}\n", encoding="utf-8")
    output, done = studio.need(WORKFLOWS / "api.json")
    assert (output["exit_code"], "no host in the group comfyui" in done.stderr) == (2, True)
