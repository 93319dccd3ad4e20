# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that models of another program are listed, compared and served, and that nothing of it is changed."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.modules import model_adoption

from tests.support.lab.machines import wait_for
from tests.support.model_server import make_safetensors
from tests.support.module_runner import run_module

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")
ONE, TWO = make_safetensors(200_000, "one"), make_safetensors(200_000, "two")


class Host:
    """A directory of another program, and the share of a studio."""

    def __init__(self, root: Path) -> None:
        for path in (root.parent.parent, root.parent, root):
            path.chmod(0o755)
        self.root, self.models, self.share = root, root / "webui/models", root / "share"
        self.models.mkdir(parents=True)
        self.share.mkdir()
        marker = {"studio_id": "studio", "share": "comfyui_models", "share_id": "1"}
        (self.share / ".noslop-share").write_text(json.dumps(marker))

    def add(self, name: str, content: bytes) -> Path:
        path = self.models / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def run(self, state: str, *, check: bool = False, **more: object) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "state": state,
            "path": str(self.models),
            "share_path": str(self.share),
            "account": getpass.getuser(),
            "studio_id": "studio",
            "record_directory": str(self.root / "record"),
            "share_record_directory": str(self.root / "share_record"),
            "run_directory": str(self.root / "run"),
        }
        return run_module("model_adoption", {**arguments, **more}, check=check)

    def snapshot(self) -> dict[str, tuple[int, int, int]]:
        paths = sorted(self.models.rglob("*"))
        return {str(path): (path.lstat().st_ino, path.lstat().st_ctime_ns, path.lstat().st_size) for path in paths}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path)
    yield host
    host.run("stopped")
    wait_for("the end of the server", lambda: host.run("progress")["running"] is None, timeout_s=30)


def fetch(host: Host, served: dict[str, Any], *models: dict[str, Any]) -> dict[str, Any]:
    origin = f"http://127.0.0.1:{served['port']}"
    arguments = {
        "path": str(host.share),
        "account": getpass.getuser(),
        "studio_id": "studio",
        "models": [
            {"path": one["target"], "url": f"{origin}/{number}", "sha256": one["sha256"], "size": one["size"]}
            for number, one in enumerate(models)
        ],
        "tokens": {origin: served["token"]},
        "run_directory": str(host.root / "fetch"),
        "record_directory": str(host.root / "share_record"),
    }
    return run_module("model_files", arguments)


def test_models_are_listed_compared_served_and_copied(host: Host) -> None:
    host.add("Stable-diffusion/new.safetensors", ONE)
    host.add("Lora/there.safetensors", TWO)
    host.add("Lora/preview.png", b"picture")
    host.add("Lora/.noslop-link-x", ONE)
    (host.share / "loras").mkdir()
    (host.share / "loras/old name.safetensors").write_bytes(TWO)
    before = host.snapshot()
    predicted = host.run("listed", check=True)
    assert not (host.root / "record").exists()
    listing = host.run("listed")
    assert listing["files"] == predicted["files"]
    assert {file["path"]: file["sha256"] for file in listing["files"]} == {
        "Stable-diffusion/new.safetensors": hashlib.sha256(ONE).hexdigest(),
        "Lora/there.safetensors": hashlib.sha256(TWO).hexdigest(),
    }
    compared = host.run("compared", files=listing["files"])
    assert {one["path"]: (one["state"], one["target"]) for one in compared["decisions"]} == {
        "Stable-diffusion/new.safetensors": ("new", "checkpoints/new.safetensors"),
        "Lora/there.safetensors": ("present", "loras/old name.safetensors"),
    }
    (new,) = [one for one in compared["decisions"] if one["state"] == "new"]
    chosen = [{key: new[key] for key in ("path", "size", "sha256", "version")}]
    served = host.run("served", files=chosen, clients=["127.0.0.1"])
    assert served["changed"]
    assert fetch(host, served, new)["models"][0]["state"] == "fetched"
    assert (host.share / "checkpoints/new.safetensors").read_bytes() == ONE
    assert host.run("stopped")["changed"]
    wait_for("the end of the server", lambda: host.run("progress")["running"] is None, timeout_s=30)
    assert not host.run("stopped")["changed"]
    again = host.run("compared", files=listing["files"])
    assert {one["state"] for one in again["decisions"]} == {"present"}
    assert host.snapshot() == before


def test_what_is_no_model_is_left_with_the_reason_and_links_are_not_followed(host: Host, tmp_path: Path) -> None:
    host.add("Lora/page.safetensors", b"<html>log in</html>")
    host.add("Lora/short.safetensors", ONE[:-5])
    host.add("Lora/.hidden.safetensors", ONE)
    host.add(os.fsdecode(b"Lora/\xff.safetensors"), ONE)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.safetensors").write_bytes(ONE)
    (host.models / "Lora/link.safetensors").symlink_to(outside / "secret.safetensors")
    (host.models / "linked").symlink_to(outside)
    host.add("manifests/registry.ollama.ai/library/llama3.2/1b", b"{}")
    host.add("sdxl/main/parts/model_index.json", b"{}")
    host.add("sdxl/main/parts/unet/part.safetensors", ONE)
    listing = host.run("listed")
    assert (listing["files"], listing["ollama"]) == ([], ["llama3.2:1b"])
    reasons = {one["path"]: one["message"] for one in listing["skipped"]}
    assert reasons["Lora/page.safetensors"] == "it is a web page, as of a login"
    assert "of which" in reasons["Lora/short.safetensors"]
    assert "plain name" in reasons["Lora/\\xff.safetensors"]
    assert "a whole directory" in reasons["sdxl/main/parts/unet/part.safetensors"]
    assert len(reasons) == 4


def test_second_listing_reads_nothing(host: Host) -> None:
    path = host.add("Lora/one.safetensors", ONE)
    first = host.run("listed")["files"]
    record = host.root / "record/hashed.json"
    record.write_text(record.read_text().replace(first[0]["sha256"], "f" * 64))
    assert host.run("listed")["files"][0]["sha256"] == "f" * 64
    path.write_bytes(TWO)
    assert host.run("listed")["files"][0]["sha256"] == hashlib.sha256(TWO).hexdigest()


@root_only
def test_directory_is_read_as_its_owner_and_one_of_roots_as_an_unprivileged_account(host: Host) -> None:
    host.add("Lora/one.safetensors", ONE)
    secret = host.add("Lora/secret.safetensors", TWO)
    secret.chmod(0o600)
    listing = host.run("listed")
    assert [one["path"] for one in listing["files"]] == ["Lora/one.safetensors"]
    assert "cannot be read (Permission denied)" in listing["skipped"][0]["message"]
    subprocess.run(["chown", "-R", "games", host.models], check=True)
    host.models.chmod(0o700)
    assert len(host.run("listed")["files"]) == 2


@root_only
def test_server_runs_as_the_owner_and_a_second_one_is_refused(host: Host) -> None:
    host.add("Lora/one.safetensors", ONE)
    subprocess.run(["chown", "-R", "games", host.models], check=True)
    files = host.run("listed")["files"]
    assert host.run("served", files=files, clients=["127.0.0.1"], check=True)["port"] == 0
    assert host.run("served", files=files, clients=["127.0.0.1"])["port"] > 0
    running = host.run("progress")["running"]
    assert Path(f"/proc/{running}").owner() == "games"
    assert "being adopted already" in host.run("served", files=files)["msg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "/no/such/directory"}, "/no/such/directory is no directory that can be read"),
        ({"path": "models"}, "is no path from the root"),
        ({"path": ""}, "is no path from the root"),
    ],
)
def test_directory_that_is_not_there_is_explained(host: Host, arguments: dict[str, Any], message: str) -> None:
    assert message in host.run("listed", **arguments)["msg"]


def test_share_of_another_studio_is_refused(host: Host) -> None:
    assert host.run("compared", studio_id="another")["failed"]


def test_documented_example_runs(host: Host) -> None:
    host.add("Lora/one.safetensors", ONE)
    (task,) = yaml.safe_load(model_adoption.EXAMPLES)
    arguments = {**task["noslop.studio.model_adoption"], "path": str(host.models)}
    assert [one["path"] for one in host.run("listed", **arguments)["files"]] == ["Lora/one.safetensors"]
