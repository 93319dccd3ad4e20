# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that models go to the trash and back, that nothing in use goes there, and that no kill loses one."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.module_utils.models import part_file, progress
from ansible_collections.noslop.studio.plugins.modules import model_trash

from tests.support.module_runner import Fault, die, run_module

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")
STYLE, PAINTER, OTHER = "loras/sdxl/style.safetensors", "checkpoints/painter.safetensors", "loras/other.gguf"
FOLDERS = ["checkpoints", "loras", "diffusers"]
#: Files count as unused at once.
NOW: dict[str, Any] = {"unused_hours": 0}


class Share:
    """A share of models, of ComfyUI's or of Ollama's."""

    def __init__(self, root: Path, share: str) -> None:
        for path in (root.parent.parent, root.parent, root):
            path.chmod(0o755)
        self.root, self.path, self.share = root, root / "models", share
        self.owner = getpass.getuser()
        self.path.mkdir()
        marker = self.path / ".noslop-share"
        marker.write_text(json.dumps({"studio_id": "studio", "share": share, "share_id": "1"}))
        marker.chmod(0o644)

    def add(self, *paths: str) -> None:
        for path in paths:
            (self.path / path).parent.mkdir(parents=True, exist_ok=True)
            (self.path / path).write_text(f"content of {path}")

    def run(
        self, state: str, *names: str, check: bool = False, fault: Fault | None = None, **more: object
    ) -> dict[str, Any]:
        arguments = {
            "path": str(self.path),
            "share": self.share,
            "account": self.owner,
            "studio_id": "studio",
            "state": state,
            "names": list(names),
            "folders": FOLDERS,
            "run_directory": str(self.root / "run"),
        }
        return run_module("model_trash", {**arguments, **more}, check=check, fault=fault)

    def files(self) -> list[str]:
        """Return the files in their places, without the trash and the marker."""
        paths = (path.relative_to(self.path) for path in self.path.rglob("*") if path.is_file())
        return sorted(str(path) for path in paths if not path.parts[0].startswith(".noslop"))

    def in_trash(self) -> list[str]:
        return [row["path"] for row in self.run("listed")["models"]]


@pytest.fixture
def share(tmp_path: Path) -> Share:
    made = Share(tmp_path, "comfyui_models")
    made.add(STYLE, PAINTER, OTHER)
    return made


def rows(answer: dict[str, Any]) -> list[tuple[str, str]]:
    assert not answer.get("failed"), answer
    return [(row["path"], row["state"]) for row in answer["models"]]


def test_model_goes_to_the_trash_and_back(share: Share) -> None:
    predicted = share.run("trashed", STYLE, "loras/none.safetensors", check=True)
    assert rows(predicted) == [(STYLE, "trashed"), ("loras/none.safetensors", "missing")]
    assert share.files() == sorted([STYLE, PAINTER, OTHER])
    answer = share.run("trashed", STYLE, "loras/none.safetensors")
    assert (rows(answer), answer["changed"]) == (rows(predicted), True)
    assert share.files() == sorted([PAINTER, OTHER])
    assert share.in_trash() == [STYLE]
    again = share.run("trashed", STYLE)
    assert (rows(again), again["changed"]) == ([(STYLE, "missing")], False)
    assert rows(share.run("restored", STYLE, check=True)) == [(STYLE, "restored")]
    assert rows(share.run("restored", STYLE)) == [(STYLE, "restored")]
    assert (share.path / STYLE).read_text() == f"content of {STYLE}"
    assert share.in_trash() == []
    assert list((share.path / ".noslop-trash").iterdir()) == []
    assert rows(share.run("restored", STYLE)) == [(STYLE, "missing")]


def test_the_newest_of_one_name_comes_back_first(share: Share) -> None:
    share.run("trashed", STYLE)
    share.add(STYLE)
    (share.path / STYLE).write_text("second")
    share.run("trashed", STYLE)
    assert share.in_trash() == [STYLE, STYLE]
    share.run("restored", STYLE)
    assert (share.path / STYLE).read_text() == "second"
    answer = share.run("restored", STYLE)
    assert f"{STYLE} is there already, and was not touched" in answer["msg"]
    assert (share.path / STYLE).read_text() == "second"
    assert share.in_trash() == [STYLE]


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", ".noslop-share", "loras/../../outside", "loras//x", ""])
def test_names_that_lead_elsewhere_are_refused(share: Share, name: str) -> None:
    (share.root / "outside").write_text("mine")
    for state in ("trashed", "restored"):
        assert "is no name of a model" in share.run(state, name)["msg"]
    assert (share.root / "outside").exists()


def test_links_and_directories_are_not_touched(share: Share) -> None:
    outside = share.root / "outside"
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    (outside / "file.safetensors").write_text("mine")
    (share.path / "loras/link.safetensors").symlink_to(outside / "file.safetensors")
    share.path.joinpath("loras").chmod(0o777)
    (share.path / "loras/away").symlink_to(outside)
    for name in ("loras/link.safetensors", "loras/sdxl"):
        assert "is no file" in share.run("trashed", name)["msg"]
    assert share.run("trashed", "loras/away/file.safetensors")["failed"]
    assert share.run("collected", check=True, **NOW)["models"] != []
    assert not any("away" in row["path"] or "link" in row["path"] for row in share.run("collected", **NOW)["models"])
    assert (outside / "file.safetensors").read_text() == "mine"


def test_unused_models_are_collected(share: Share) -> None:
    uses = [
        {"name": PAINTER, "documents": [{"project": "Film", "name": "night"}], "media_count": 0},
        {"name": OTHER, "documents": [], "media_count": 0},
    ]
    arguments: dict[str, Any] = {"catalogue": [STYLE], "uses": uses, **NOW}
    predicted = share.run("collected", check=True, **arguments)
    assert rows(predicted) == [(OTHER, "trashed")]
    assert "neither the catalogue nor the backend" in predicted["models"][0]["reason"]
    assert share.files() == sorted([STYLE, PAINTER, OTHER])
    assert rows(share.run("collected", **arguments)) == [(OTHER, "trashed")]
    assert share.in_trash() == [OTHER]
    second = share.run("collected", **arguments)
    assert (rows(second), second["changed"]) == ([], False)


def test_media_made_with_a_model_keep_it(share: Share) -> None:
    uses = [{"name": PAINTER, "documents": [], "media_count": 3}]
    assert (PAINTER, "trashed") not in rows(share.run("collected", uses=uses, **NOW))


def test_what_is_no_model_or_new_or_elsewhere_stays(share: Share) -> None:
    kept = [
        "loras/style.preview.png",
        "loras/.hidden.safetensors",
        "loras/.cache/x.safetensors",
        "insightface/models/a.onnx",
        "diffusers/flux/model_index.json",
        "diffusers/flux/unet/model.safetensors",
        "loras/odd\nname.safetensors",
    ]
    share.add(*kept)
    assert rows(share.run("collected")) == [], "all of them have just come"
    assert sorted(rows(share.run("collected", **NOW))) == [
        (name, "trashed") for name in sorted([STYLE, PAINTER, OTHER])
    ]
    assert share.files() == sorted(kept)


def test_trash_is_emptied_after_its_days(share: Share) -> None:
    share.run("trashed", STYLE)
    arguments: dict[str, Any] = {"catalogue": [PAINTER, OTHER]}
    assert rows(share.run("collected", **arguments)) == []
    assert rows(share.run("collected", trash_days=0, check=True, **arguments)) == [(STYLE, "removed")]
    assert share.in_trash() == [STYLE]
    assert rows(share.run("collected", trash_days=0, **arguments)) == [(STYLE, "removed")]
    assert share.in_trash() == []
    assert share.files() == sorted([PAINTER, OTHER])


def test_parts_of_downloads_go_that_nothing_continues(share: Share) -> None:
    kept, lost = (part_file.make_key(path) for path in (STYLE, "loras/gone.safetensors"))
    names = [f"{part_file.DIRECTORY}/{key}.{ending}" for key in (kept, lost) for ending in ("json", "part")]
    share.add(*names)
    arguments: dict[str, Any] = {"catalogue": [STYLE, PAINTER, OTHER]}
    assert rows(share.run("collected", **arguments)) == []
    assert rows(share.run("collected", **arguments, **NOW)) == [(name, "removed") for name in names if lost in name]
    assert sorted(os.listdir(share.path / part_file.DIRECTORY)) == [f"{kept}.json", f"{kept}.part"]


def test_nothing_is_moved_while_models_are_fetched(share: Share) -> None:
    lock = progress.Lock(str(share.root / "run"))
    lock.acquire()
    for state in ("trashed", "collected", "restored"):
        assert "Models are being fetched now" in share.run(state, STYLE, **NOW)["msg"]
    assert share.files() == sorted([STYLE, PAINTER, OTHER])
    assert share.in_trash() == []
    os.close(lock.descriptor)
    assert rows(share.run("trashed", STYLE)) == [(STYLE, "trashed")]


def test_check_mode_before_the_studio_is_there_changes_nothing(share: Share, tmp_path: Path) -> None:
    assert rows(share.run("collected", check=True, account="nosuchaccount")) == []
    assert rows(share.run("trashed", STYLE, check=True, path=str(tmp_path / "none"))) == []
    assert "There is no account" in share.run("trashed", STYLE, account="nosuchaccount")["msg"]
    assert not (share.root / "run").exists()


def test_share_of_another_studio_is_refused(share: Share) -> None:
    assert share.run("trashed", STYLE, studio_id="another")["failed"]
    assert share.files() == sorted([STYLE, PAINTER, OTHER])


@root_only
def test_files_of_others_than_the_account_of_the_share_stay(share: Share) -> None:
    share.owner = "news"
    os.chown(share.path, 9, 9)
    for path in share.path.rglob("*"):
        os.chown(path, 9, 9)
    os.chown(share.path / "loras/sdxl", 0, 0)
    answer = share.run("trashed", PAINTER, STYLE)
    assert "Permission denied" in answer["msg"]
    assert [row["path"] for row in answer["models"]] == [PAINTER]
    assert share.files() == sorted([STYLE, OTHER])


@pytest.mark.parametrize("state", ["trashed", "restored"])
def test_kill_before_every_change_loses_no_file(tmp_path: Path, state: str) -> None:
    number = 0
    while True:
        number += 1
        root = tmp_path / f"{state}{number}"
        root.mkdir()
        share = Share(root, "comfyui_models")
        share.add(STYLE)
        if state == "restored":
            share.run("trashed", STYLE)
        answer = run_killed(share, state, number)
        contents = {path.read_text() for path in share.path.rglob("style.safetensors")}
        assert contents == {f"content of {STYLE}"}, number
        if not answer:
            break
        share.run(state, STYLE)
        assert share.files() == ([] if state == "trashed" else [STYLE]), number
        assert share.in_trash() == ([STYLE] if state == "trashed" else []), number
    assert number > 3


def run_killed(share: Share, state: str, number: int) -> bool:
    """Do what the module's worker does, killed before a change of a directory. Return whether it was."""
    job = model_trash.Job(str(share.path), False, state, [STYLE], False, time.time())
    pid = os.fork()
    if pid == 0:
        sys.addaudithook(Fault(number, die))
        model_trash.run(job)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0


class Ollama(Share):
    """Ollama's directory of models."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "ollama_models")

    def blob(self, content: str) -> str:
        """Write a blob; return its name."""
        digest = hashlib.sha256(content.encode()).hexdigest()
        path = self.path / "blobs" / f"sha256-{digest}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        return f"blobs/sha256-{digest}"

    def model(self, name: str, *contents: str) -> None:
        """Write a model of these layers."""
        parts = [{"digest": self.blob(content).removeprefix("blobs/").replace("-", ":")} for content in contents]
        path = self.path / "manifests/registry.ollama.ai/library" / name.replace(":", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"config": parts[0], "layers": parts[1:]}))


@pytest.fixture
def ollama(tmp_path: Path) -> Ollama:
    made = Ollama(tmp_path)
    made.model("small:1b", "config", "weights", "licence")
    made.model("other:latest", "config2", "weights2", "licence")
    return made


def test_model_of_ollama_goes_with_the_blobs_that_no_other_one_has(ollama: Ollama) -> None:
    shared = ollama.blob("licence")
    answer = ollama.run("trashed", "small:1b")
    assert rows(answer) == [("small:1b", "trashed")]
    assert answer["models"][0]["size"] > len("config" + "weights")
    assert len(ollama.in_trash()) == 3
    assert shared in ollama.files()
    assert rows(ollama.run("collected", **NOW)) == []
    restored = rows(ollama.run("restored", "small:1b"))
    assert restored[0] == ("small:1b", "restored")
    assert {path for path, _ in restored[1:]} == {ollama.blob("config"), ollama.blob("weights")}
    assert ollama.in_trash() == []


def test_model_of_ollama_that_was_removed_twice_comes_back_whole(ollama: Ollama) -> None:
    whole = ollama.files()
    for _ in range(2):
        assert rows(ollama.run("trashed", "small:1b")) == [("small:1b", "trashed")]
        assert ollama.files() == [path for path in whole if path not in ollama.in_trash()]
        ollama.model("small:1b", "config", "weights", "licence")
    ollama.run("trashed", "small:1b")
    ollama.run("restored", "small:1b")
    assert ollama.files() == whole


def test_model_of_ollama_whose_parts_are_gone_is_named(ollama: Ollama) -> None:
    ollama.run("trashed", "small:1b")
    for path in ollama.path.glob(".noslop-trash/*/blobs/*"):
        path.unlink()
    assert "small:1b is back without a part" in ollama.run("restored", "small:1b")["msg"]


def test_blobs_that_no_model_names_are_collected(ollama: Ollama) -> None:
    lost = ollama.blob("lost")
    partial = f"{ollama.blob('more')}-partial"
    (ollama.path / ollama.blob("more")).rename(ollama.path / partial)
    before = ollama.files()
    assert "is a download of Ollama's that has gone on lately" in ollama.run("collected")["msg"]
    assert ollama.files() == before
    predicted = rows(ollama.run("collected", check=True, **NOW))
    assert sorted(predicted) == sorted([(lost, "trashed"), (partial, "trashed")])
    assert rows(ollama.run("collected", **NOW)) == predicted
    assert ollama.files() == sorted(set(before) - {lost, partial})


def test_blob_that_a_model_names_again_comes_back(ollama: Ollama) -> None:
    lost = ollama.blob("lost")
    ollama.run("collected", **NOW)
    assert lost not in ollama.files()
    digest = lost.removeprefix("blobs/").replace("-", ":")
    path = ollama.path / "manifests/registry.ollama.ai/library/late/latest"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"config": {"digest": ""}, "layers": [{"digest": digest}]}))
    assert rows(ollama.run("restored")) == [(lost, "restored")]
    assert lost in ollama.files()
    assert rows(ollama.run("restored")) == []


def test_store_without_models_has_nothing_unused(tmp_path: Path) -> None:
    assert rows(Ollama(tmp_path).run("collected", **NOW)) == []


def test_damaged_manifest_keeps_every_blob(ollama: Ollama) -> None:
    ollama.blob("lost")
    (ollama.path / "manifests/registry.ollama.ai/library/small/1b").write_text("{")
    before = ollama.files()
    for state in ("collected", "trashed"):
        assert "damaged manifest" in ollama.run(state, "other:latest", **NOW)["msg"]
    assert ollama.files() == before


def test_documented_example_runs(share: Share) -> None:
    (task,) = yaml.safe_load(model_trash.EXAMPLES)
    arguments = task["noslop.studio.model_trash"]
    share.add(*arguments["names"])
    assert rows(share.run(arguments["state"], *arguments["names"])) == [(arguments["names"][0], "trashed")]
