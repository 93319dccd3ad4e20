# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that `models adopt` shows, copies and lists models of a host, and changes nothing on it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from noslop_driver.inventory.directory import STUDIO
from tests.support.driver_cli import run
from tests.support.model_server import make_safetensors, serving_models
from tests.support.model_studio import Studio

ONE, TWO = make_safetensors(60_000, "of the host"), make_safetensors(60_000, "of the market")


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    with serving_models() as server:
        studio = Studio(tmp_path, server)
        for path in (tmp_path.parent.parent, tmp_path.parent, tmp_path):
            path.chmod(0o755)  # an unprivileged account reads what belongs to root
        for name, content in (("Stable-diffusion/first", ONE), ("Lora/second", TWO)):
            path = tmp_path / f"webui/models/{name}.safetensors"
            path.parent.mkdir(parents=True)
            path.write_bytes(content)
        more = {
            "studio_models_adopt_run_directory": str(tmp_path / "run_adopt"),
            "studio_models_adopt_record_directory": str(tmp_path / "record_adopt"),
        }
        (studio.path / "group_vars/all/zz.yml").write_text(json.dumps(more))
        text = (studio.path / STUDIO).read_text(encoding="utf-8")
        market = f"noslop_models_market: http://127.0.0.1:{server.port}\n"
        (studio.path / STUDIO).write_text(f"{text}{market}", encoding="utf-8")
        yield studio


@pytest.mark.slow
@pytest.mark.long
def test_adopted_models_are_on_the_share_and_in_the_catalogue(studio: Studio) -> None:
    digest = hashlib.sha256(TWO).hexdigest()
    answer = {"id": 7, "files": [{"primary": True, "hashes": {"SHA256": digest.upper()}}]}
    studio.server.add(f"api/v1/model-versions/by-hash/{digest}", json.dumps(answer).encode())
    models = studio.root / "webui/models"
    before = {path: (os.stat(path).st_ino, os.stat(path).st_ctime_ns) for path in models.rglob("*")}
    done = run("models", "adopt", f"here:{models}", "--inventory", str(studio.path), "--no-input")
    assert done.returncode == 2, done
    assert "checkpoints/first.safetensors" in done.stdout
    assert "Copy 2 models (120.1 kB) from here to the share and write 2 models into the catalogue?" in done.stderr
    assert not list(studio.share.rglob("*.safetensors"))

    output, done = studio.models("adopt", f"here:{models}", "--yes")

    assert output["exit_code"] == 0, done
    assert (studio.share / "checkpoints/first.safetensors").read_bytes() == ONE
    assert (studio.share / "loras/second.safetensors").read_bytes() == TWO
    assert {path: (os.stat(path).st_ino, os.stat(path).st_ctime_ns) for path in models.rglob("*")} == before
    added = {entry["file"]: (entry.get("local"), entry.get("civitai")) for entry in output["added"]}
    assert added == {"first.safetensors": (True, None), "second.safetensors": (None, 7)}
    assert output["host_bytes_before"] == output["host_bytes_after"] > 120_000
    assert output["share_bytes_after"] - output["share_bytes_before"] == output["host_bytes_after"]
    listed, done = studio.models("list")
    assert {row["name"]: row["source"] for row in listed["models"] if row["fetched"]} == {
        "checkpoints/first.safetensors": "local",
        "loras/second.safetensors": f"http://127.0.0.1:{studio.server.port}/api/download/models/7",
    }
    assert "noslop_models_market" in (studio.path / STUDIO).read_text(encoding="utf-8")

    output, done = studio.models("adopt", f"here:{models}", "--yes")
    assert (output["exit_code"], output["models"], output["added"]) == (0, [], []), done
    assert "The share and the catalogue have all of them." in done.stderr

    pulled, done = studio.models("pull", "checkpoints/first.safetensors")
    assert [row["state"] for row in pulled["models"]] == ["present"], done
    (studio.share / "checkpoints/first.safetensors").unlink()
    pulled, done = studio.models("pull", "checkpoints/first.safetensors")
    assert pulled["exit_code"] == 1
    assert "its entry in the catalogue has no address: it came from a host. Adopt it again" in done.stderr


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ("/models", "'/models' is no HOST:PATH. Write it like here:/home/artist/ComfyUI/models."),
        ("here:models", "'here:models' is no HOST:PATH."),
        ("there:/models", "there is no host of the studio. Its hosts are here."),
    ],
)
def test_origin_that_is_wrong_is_a_usage_error(studio: Studio, origin: str, message: str) -> None:
    output, done = studio.models("adopt", origin, "--yes")
    assert output["exit_code"] == 2
    assert message in done.stderr
