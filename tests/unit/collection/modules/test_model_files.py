# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that models come to the share once, for any number of runs, and that what an earlier run has is used."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.module_utils.models import part_file, progress
from ansible_collections.noslop.studio.plugins.modules import model_files

from tests.backend.mounts import mounted
from tests.support.lab.machines import wait_for
from tests.support.model_server import ModelServer, make_safetensors, serving_models
from tests.support.module_runner import run_module

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")
#: An account of every Debian.
OWNER = "news"
CONTENTS = {f"loras/{name}.safetensors": make_safetensors(300_000, name) for name in ("one", "two", "three")}


class Share:
    """A share of models, and a server that has them."""

    def __init__(self, root: Path, server: ModelServer) -> None:
        for path in (root.parent.parent, root.parent, root):
            path.chmod(0o755)
        self.root, self.path, self.server = root, root / "models", server
        self.owner = getpass.getuser()
        self.path.mkdir()
        marker = {"studio_id": "studio", "share": "comfyui_models", "share_id": "1"}
        (self.path / ".noslop-share").write_text(json.dumps(marker))
        for name, content in CONTENTS.items():
            server.add(name, content)

    def model(self, path: str, **more: object) -> dict[str, Any]:
        sha256 = hashlib.sha256(CONTENTS[path]).hexdigest()
        return {"path": path, "url": self.server.url(path), "sha256": sha256, **more}

    def run(self, *models: dict[str, Any], check: bool = False, **more: object) -> dict[str, Any]:
        arguments = {
            "path": str(self.path),
            "account": self.owner,
            "studio_id": "studio",
            "models": list(models or map(self.model, CONTENTS)),
            "run_directory": str(self.root / "run"),
            "record_directory": str(self.root / "record"),
        }
        return run_module("model_files", {**arguments, **more}, check=check)

    def files(self) -> dict[str, bytes]:
        paths = (path for path in self.path.rglob("*") if path.is_file() and path.name != ".noslop-share")
        return {str(path.relative_to(self.path)): path.read_bytes() for path in paths}


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Share]:
    with serving_models() as server:
        yield Share(tmp_path, server)


def states(answer: dict[str, Any]) -> list[str]:
    return [row["state"] for row in answer["models"]]


def test_models_are_fetched_and_a_second_run_reads_nothing(share: Share) -> None:
    assert states(share.run(check=True)) == ["missing"] * 3
    assert share.files() == {}
    first = share.run()
    assert (first["changed"], states(first)) == (True, ["fetched"] * 3)
    assert share.files() == CONTENTS
    requests = len(share.server.requests)
    accessed = [os.stat(share.path / name).st_atime_ns for name in CONTENTS]
    second = share.run()
    assert (second["changed"], states(second)) == (False, ["present"] * 3)
    assert [row["sha256"] for row in second["models"]] == [hashlib.sha256(one).hexdigest() for one in CONTENTS.values()]
    assert len(share.server.requests) == requests
    assert [os.stat(share.path / name).st_atime_ns for name in CONTENTS] == accessed
    assert share.run(check=True)["changed"] is False


def test_check_mode_returns_the_room_and_files_with_the_same_content(share: Share) -> None:
    one, two, *_ = CONTENTS
    share.run(share.model(one))
    again = {**share.model(one), "path": "checkpoints/again.safetensors"}
    copied, other = share.run(again, share.model(two), check=True)["models"]
    assert (copied["state"], copied["same_as"], other["same_as"]) == ("missing", [one], [])
    assert copied["free_bytes"] > 0
    (share.path / one).unlink()
    assert share.run(again, check=True)["models"][0]["same_as"] == []


def test_ten_runs_at_once_fetch_each_byte_once(share: Share) -> None:
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: share.run(), range(10)))
    assert sum(answer["changed"] for answer in answers) == 1
    assert all(not answer.get("failed") for answer in answers)
    assert sum(share.server.sent.values()) <= 1.01 * sum(map(len, CONTENTS.values()))
    assert share.files() == CONTENTS


def test_file_that_was_changed_on_the_share_is_compared_again(share: Share) -> None:
    share.run()
    name = next(iter(CONTENTS))
    damaged = bytearray(CONTENTS[name])
    damaged[-1] ^= 1
    before = os.stat(share.path / name)
    (share.path / name).write_bytes(damaged)
    os.utime(share.path / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    answer = share.run()
    assert answer["failed"]
    assert states(answer) == ["failed", "present", "present"]
    assert "is another file" in answer["msg"]
    assert share.files()[name] == bytes(damaged)


def test_one_that_fails_does_not_keep_the_others_away(share: Share) -> None:
    first, *others = CONTENTS
    share.server.files[first].contents[0] = b"<html>log in</html>"
    answer = share.run()
    assert answer["failed"]
    assert states(answer) == ["failed", "fetched", "fetched"]
    assert share.files() == {name: CONTENTS[name] for name in others}
    shown = {row.path: row.state for row in progress.read(str(share.root / "run"))}
    assert shown == {first: "failed", **dict.fromkeys(others, "fetched")}


@root_only
def test_full_disk_is_named_before_the_first_byte_and_the_next_run_goes_on(share: Share) -> None:
    marker = (share.path / ".noslop-share").read_text()
    with mounted("tmpfs", share.path, "size=256k,mode=0755"):
        (share.path / ".noslop-share").write_text(marker)
        answer = share.run(share.model("loras/one.safetensors"))
        assert "There is no room for loras/one.safetensors" in answer["msg"]
        assert "Make room, and run this again" in answer["msg"]
        assert [name for name in share.files() if name.endswith(".safetensors")] == []
        subprocess.run(["mount", "-o", "remount,size=4m", share.path], check=True)
        assert states(share.run()) == ["fetched"] * 3
        assert {name: share.files()[name] for name in CONTENTS} == CONTENTS


def test_missing_checksum_is_recorded(share: Share) -> None:
    name = next(iter(CONTENTS))
    answer = share.run(share.model(name, sha256=""))
    assert answer["models"][0]["sha256"] == hashlib.sha256(CONTENTS[name]).hexdigest()


def test_share_of_another_studio_is_refused(share: Share) -> None:
    answer = share.run(studio_id="another")
    assert answer["failed"]
    assert share.files() == {}
    assert share.server.requests == []


@root_only
def test_files_belong_to_the_account_of_the_share_and_root_writes_none(share: Share) -> None:
    share.owner = OWNER
    os.chown(share.path, 9, 9)  # news
    (share.path / ".noslop-share").chmod(0o644)
    assert states(share.run()) == ["fetched"] * 3
    assert {path.stat().st_uid for path in share.path.rglob("*.safetensors")} == {9}
    share.path.joinpath("loras").chmod(0o755)
    os.chown(share.path / "loras", 0, 0)
    (share.path / "loras/one.safetensors").unlink()
    answer = share.run()
    assert states(answer) == ["failed", "present", "present"]
    assert "Permission denied" in answer["msg"]


def test_run_that_is_stopped_is_continued_by_the_next(share: Share) -> None:
    content = make_safetensors(3_000_000, "large")
    share.server.add("large", content)
    large = {"path": "loras/large.safetensors", "url": share.server.url("large"), "sha256": ""}
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(share.run, large, rate_limit=1_000_000)
        while not any(row.received > 300_000 for row in progress.read(str(share.root / "run"))):
            assert not running.done(), running.result()
        assert share.run(state="progress")["models"][0]["state"] == "fetching"
        assert share.run(state="stopped")["changed"]
        assert "died" in running.result()
    wait_for("the end of the worker", lambda: share.run(state="progress")["running"] is None, timeout_s=30)
    sent = share.server.sent["large"]
    assert states(share.run(large)) == ["fetched"]
    assert share.files()["loras/large.safetensors"] == content
    assert share.server.sent["large"] - sent < len(content)


@root_only
def test_share_that_goes_away_in_mid_fetch_is_named_and_the_next_run_goes_on(share: Share) -> None:
    content = make_safetensors(3_000_000, "large")
    share.server.add("large", content)
    large = {"path": "loras/large.safetensors", "url": share.server.url("large"), "sha256": ""}
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(share.run, large, rate_limit=1_000_000)
        while not any(row.received > 300_000 for row in progress.read(str(share.root / "run"))):
            assert not running.done(), running.result()
        with mounted("tmpfs", share.path, "size=1m"):
            answer = running.result()
            assert "loras/large.safetensors" in answer["msg"]
            assert "is not a share of the studio, or is not mounted" in share.run(large)["msg"]
            assert share.files() == {}
    assert states(share.run(large)) == ["fetched"]
    assert share.files()["loras/large.safetensors"] == content


def test_file_that_an_earlier_run_had_as_a_whole_is_new_when_it_gets_its_name(share: Share) -> None:
    name = next(iter(CONTENTS))
    part = part_file.PartFile(str(share.path), part_file.make_key(name))
    part.start(part_file.State(share.model(name)["url"], '"1"', len(CONTENTS[name])))
    part.append(CONTENTS[name])
    part.synchronize()
    part.close()
    answer = share.run(share.model(name))
    assert (answer["changed"], states(answer), answer["models"][0]["received"]) == (True, ["fetched"], 0)
    assert share.files() == {name: CONTENTS[name]}


def test_verification_reads_all_bytes_and_names_what_is_damaged_or_missing(share: Share) -> None:
    one, two, three = CONTENTS
    models = [share.model(one), share.model(two, sha256=""), share.model(three)]
    share.run(*models)
    answer = share.run(*models, state="verified")
    assert (answer["changed"], states(answer)) == (False, ["verified"] * 3)
    damaged = bytearray(CONTENTS[two])
    damaged[-1] ^= 1
    (share.path / two).write_bytes(damaged)
    (share.path / three).unlink()
    os.mkfifo(share.path / three)
    answer = share.run(*models, {**share.model(one), "path": "loras/four.safetensors"}, state="verified")
    assert states(answer) == ["verified", "failed", "failed", "failed"]
    for message in (f"{two} is damaged", f"{three}: this is no file", "loras/four.safetensors is not there"):
        assert message in answer["msg"]
    requests = len(share.server.requests)
    assert states(share.run(*models)) == ["present", "failed", "failed"]
    assert len(share.server.requests) == requests


def test_documented_example_runs(share: Share) -> None:
    (task,) = yaml.safe_load(model_files.EXAMPLES)
    (model,) = task["noslop.studio.model_files"]["models"]
    content = make_safetensors(1000)
    share.server.add("painter.safetensors", content)
    here = {"url": share.server.url("painter.safetensors"), "sha256": hashlib.sha256(content).hexdigest()}
    assert states(share.run({**model, **here})) == ["fetched"]
    assert share.files() == {model["path"]: content}
