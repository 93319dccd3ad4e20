# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that equal models are joined and that nothing is lost, on a disk with shared extents and on one without."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.module_utils.models import progress, record
from ansible_collections.noslop.studio.plugins.modules import model_duplicates

from tests.support.btrfs_disk import mounting_btrfs
from tests.support.lab.machines import wait_for
from tests.support.model_server import make_safetensors, serving_models
from tests.support.module_runner import CHANGES, Fault, die, run_module

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account, and mount")
#: Accounts of every Debian.
OWNERS = {"comfyui_models": "news", "ollama_models": "games"}
ONE, TWO = make_safetensors(1_500_000, "one"), make_safetensors(1_500_000, "two")
UNUSUAL = os.fsdecode(b"-rf \xff\n.safetensors")


class Shares:
    """The two shares of a studio's models."""

    def __init__(self, root: Path) -> None:
        for path in (root.parent.parent, root.parent, root):
            path.chmod(0o755)
        self.root = root
        self.owners = dict.fromkeys(OWNERS, getpass.getuser())
        for name in OWNERS:
            (root / name).mkdir()
            marker = {"studio_id": "studio", "share": name, "share_id": "1"}
            (root / name / ".noslop-share").write_text(json.dumps(marker))

    @property
    def comfyui(self) -> Path:
        return self.root / "comfyui_models"

    @property
    def ollama(self) -> Path:
        return self.root / "ollama_models"

    def add(self, name: str, content: bytes, share: str = "comfyui_models") -> Path:
        path = self.root / share / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def give_to_owners(self) -> None:
        """Let another account own each share."""
        self.owners = dict(OWNERS)
        for name, owner in OWNERS.items():
            subprocess.run(["chown", "-R", f"{owner}:{owner}", self.root / name], check=True)

    def run(self, *, check: bool = False, fault: Fault | None = None, **more: object) -> dict[str, Any]:
        trees = [{"name": name, "path": str(self.root / name), "account": self.owners[name]} for name in OWNERS]
        arguments: dict[str, Any] = {
            "trees": trees,
            "studio_id": "studio",
            "min_age": 0,
            "record_directory": str(self.root / "record"),
            "run_directory": str(self.root / "run"),
        }
        return run_module("model_duplicates", {**arguments, **more}, check=check, fault=fault)

    def files(self) -> dict[str, bytes]:
        paths = (path for name in OWNERS for path in (self.root / name).rglob("*"))
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in paths
            if path.is_file() and not path.is_symlink() and path.name != ".noslop-share"
        }

    def inodes(self) -> dict[str, int]:
        return {name: os.stat(self.root / name).st_ino for name in self.files()}


@pytest.fixture
def shares(tmp_path: Path) -> Shares:
    return Shares(tmp_path)


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Shares]:
    with mounting_btrfs(tmp_path) as top:
        root = top / "shares"
        root.mkdir()
        for path in (*tmp_path.parents[:2], tmp_path, top):
            path.chmod(0o755)
        yield Shares(root)


def states(answer: dict[str, Any]) -> dict[str, str]:
    return {f"{row['share']}/{row['path']}": row["state"] for row in answer["duplicates"]}


def add_copies(shares: Shares) -> None:
    """Add three copies of a model with unusual names among them, one of another share, and other models."""
    for name in ("a/first", UNUSUAL, "loras/with space"):
        shares.add(name, ONE)
    shares.add("blobs/sha256-1", ONE, "ollama_models")
    shares.add("loras/other", TWO)
    shares.add("same size", TWO[:-1] + b"\0")


def test_copies_of_one_share_become_one_file_and_the_other_share_is_reported(shares: Shares) -> None:
    add_copies(shares)
    for number, name in enumerate(("a/first", UNUSUAL, "loras/with space")):
        os.utime(shares.comfyui / name, (1000 + number, 1000 + number))
    before, inodes = shares.files(), shares.inodes()
    predicted = shares.run(check=True)
    assert (shares.files(), shares.inodes()) == (before, inodes)
    assert not (shares.root / "record").exists()
    answer = shares.run()
    assert states(answer) == states(predicted)
    assert states(answer) == {
        "comfyui_models/-rf \\xff\n.safetensors": "linked",
        "comfyui_models/loras/with space": "linked",
        "ollama_models/blobs/sha256-1": "apart",
    }
    assert shares.files() == before
    joined = {os.stat(shares.comfyui / name).st_ino for name in ("a/first", UNUSUAL, "loras/with space")}
    assert joined == {inodes["comfyui_models/a/first"]}
    assert os.stat(shares.comfyui / UNUSUAL).st_mtime == 1000
    stored = os.stat(shares.comfyui / "a/first").st_blocks * 512
    assert answer["bytes_before"] - answer["bytes_after"] == 2 * stored
    assert (answer["bytes_after"], answer["bytes_apart"]) == (predicted["bytes_after"], stored)
    assert "a hard link would give one owner to files of two shares" in answer["duplicates"][2]["message"]


def test_second_run_changes_nothing_and_trusts_its_record_only_to_find_candidates(shares: Shares) -> None:
    add_copies(shares)
    first = shares.run()
    again = shares.run()
    assert (again["changed"], again["bytes_before"]) == (False, first["bytes_after"])
    # A wrong record is believed, so nothing was read again; and the bytes are compared before anything is linked.
    directory = str(shares.root / "record")
    entries = record.read(directory, record.HASHED)
    other = entries["comfyui_models/loras/other"].sha256
    entries["comfyui_models/same size"] = replace(entries["comfyui_models/same size"], sha256=other)
    record.write(directory, entries, record.HASHED)
    before = shares.files()
    wrong = {row["path"]: row["message"] for row in shares.run()["duplicates"]}
    assert wrong["same size"] == "the bytes differ"
    assert shares.files() == before


@root_only
def test_btrfs_shares_the_bytes_of_both_shares_and_each_file_stays_its_own(btrfs: Shares) -> None:
    add_copies(btrfs)
    btrfs.give_to_owners()
    before = btrfs.files()
    status = {name: os.stat(btrfs.root / name) for name in before}
    predicted = btrfs.run(check=True)
    answer = btrfs.run()
    assert set(states(answer).values()) == {"shared"}
    assert (states(answer), len(states(answer))) == (states(predicted), 3)
    assert btrfs.files() == before
    for name, old in status.items():
        new = os.stat(btrfs.root / name)
        assert (new.st_ino, new.st_uid, new.st_mode, new.st_mtime_ns) == (
            old.st_ino, old.st_uid, old.st_mode, old.st_mtime_ns,
        )  # fmt: skip
    saved = answer["bytes_before"] - answer["bytes_after"]
    assert saved == answer["bytes_before"] - predicted["bytes_after"] > 3 * 1_500_000 - 1
    again = btrfs.run()
    assert (again["changed"], again["duplicates"], again["bytes_before"]) == (False, [], answer["bytes_after"])
    # A program that writes to one changes no other.
    (btrfs.ollama / "blobs/sha256-1").write_bytes(b"new")
    assert (btrfs.comfyui / "a/first").read_bytes() == ONE


@root_only
def test_each_share_is_read_and_linked_as_its_owner(shares: Shares) -> None:
    add_copies(shares)
    shares.add("mine", ONE)
    shares.give_to_owners()
    os.chown(shares.comfyui / "mine", 0, 0)
    answer = shares.run()
    assert states(answer)["comfyui_models/mine"] == "apart"
    reasons = {row["path"]: row["message"] for row in answer["duplicates"]}
    assert "different owners or modes" in reasons["mine"]
    assert os.stat(shares.comfyui / "mine").st_uid == 0
    assert os.stat(shares.comfyui / UNUSUAL).st_nlink == 3
    assert {os.stat(path).st_uid for path in shares.ollama.rglob("sha*")} == {5}  # games


def test_hidden_names_links_and_downloads_that_have_not_ended_are_left_alone(shares: Shares, tmp_path: Path) -> None:
    shares.add("first", ONE)
    for name in (".noslop-fetch/1.part", ".hidden", ".cache/x", "sub/.git"):
        shares.add(name, ONE)
    shares.add("blobs/sha256-1-partial", ONE, "ollama_models")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "model").write_bytes(ONE)
    (shares.comfyui / "linked").symlink_to(outside)
    (shares.comfyui / "link").symlink_to(outside / "model")
    os.mkfifo(shares.comfyui / "pipe")
    answer = shares.run()
    assert (answer["changed"], answer["duplicates"]) == (False, [])


def test_names_of_one_file_count_once_and_a_name_outside_prevents_a_link(shares: Shares, tmp_path: Path) -> None:
    first = shares.add("first", ONE)
    os.link(first, shares.comfyui / "again")
    answer = shares.run()
    assert (answer["duplicates"], answer["bytes_before"]) == ([], os.stat(first).st_blocks * 512)
    second = shares.add("second", ONE)
    os.link(second, shares.comfyui / "zweite")
    third = shares.add("third", ONE)
    os.link(third, tmp_path / "elsewhere")
    answer = shares.run()
    assert states(answer) == {"comfyui_models/second": "linked", "comfyui_models/third": "apart"}
    assert len({os.stat(shares.comfyui / name).st_ino for name in ("first", "again", "second", "zweite")}) == 1


def test_sparse_file_is_equal_to_one_with_zeros(shares: Shares) -> None:
    zeros = bytes(3_000_000)
    with shares.add("sparse", b"").open("wb") as stream:
        stream.truncate(len(zeros))
    os.utime(shares.comfyui / "sparse", (1, 1))
    shares.add("full", zeros)
    answer = shares.run()
    assert states(answer) == {"comfyui_models/full": "linked"}
    assert answer["bytes_after"] < 100_000 < answer["bytes_before"]
    assert (shares.comfyui / "full").read_bytes() == zeros


def test_file_that_is_being_written_is_left_alone(shares: Shares) -> None:
    add_copies(shares)
    answer = shares.run(min_age=3600)
    assert (answer["changed"], answer["duplicates"]) == (False, [])
    assert {row["message"] for row in answer["skipped"]} == {"it changed less than 3600 seconds ago"}
    with (shares.comfyui / "loras/with space").open("r+b"):
        answer = shares.run()
    assert states(answer)["comfyui_models/loras/with space"] == "apart"
    assert states(shares.run())["comfyui_models/loras/with space"] == "linked"


def test_small_files_and_switched_off_links_change_nothing(shares: Shares) -> None:
    for name in ("one.json", "two.json"):
        shares.add(name, b"{}")
    assert shares.run()["duplicates"] == []
    add_copies(shares)
    before = shares.inodes()
    answer = shares.run(hard_links=False)
    assert set(states(answer).values()) == {"apart"}
    assert (answer["changed"], shares.inodes()) == (False, before)


def test_fetched_models_are_not_read_and_stay_fetched_after_they_were_joined(shares: Shares) -> None:
    def fetch() -> dict[str, Any]:
        arguments = {
            "path": str(shares.comfyui), "account": getpass.getuser(), "studio_id": "studio",
            "models": [{"path": "loras/one", "url": server.url("one")}],
            "run_directory": str(shares.root / "run"), "record_directory": str(shares.root / "record"),
        }  # fmt: skip
        return run_module("model_files", arguments)

    with serving_models() as server:
        server.add("one", ONE)
        assert fetch()["models"][0]["state"] == "fetched"
        shares.add("copy", ONE).chmod(0o664)
        os.utime(shares.comfyui / "copy", (1, 1))
        assert states(shares.run()) == {"comfyui_models/loras/one": "linked"}
        accessed = os.stat(shares.comfyui / "loras/one").st_atime_ns
        assert fetch()["models"][0]["state"] == "present"
        assert os.stat(shares.comfyui / "loras/one").st_atime_ns == accessed
    entry = record.read(str(shares.root / "record"))["loras/one"]
    assert entry.is_of(os.stat(shares.comfyui / "loras/one"))
    assert entry.url.endswith("/one")


def test_damaged_model_keeps_the_checksum_of_its_fetch(shares: Shares) -> None:
    entry = record.Entry("f" * 64, 1, 2, 3, "http://x")
    record.write(str(shares.root / "record"), {"loras/one": entry})
    for name in ("loras/one", "copy"):
        shares.add(name, ONE)
    shares.run()
    assert record.read(str(shares.root / "record")) == {"loras/one": entry}


def test_it_waits_for_a_fetch(shares: Shares) -> None:
    add_copies(shares)
    content = make_safetensors(300_000, "fetched")
    with serving_models() as server, ThreadPoolExecutor(2) as pool:
        gate = threading.Event()
        server.add("slow", content, gate=gate)
        arguments = {
            "path": str(shares.comfyui), "account": getpass.getuser(), "studio_id": "studio",
            "models": [{"path": "slow.safetensors", "url": server.url("slow")}],
            "run_directory": str(shares.root / "run"), "record_directory": str(shares.root / "record"),
        }  # fmt: skip
        fetching = pool.submit(run_module, "model_files", arguments)
        try:
            wait_for("the request", lambda: bool(server.requests), timeout_s=60)
            joining = pool.submit(shares.run)
            assert progress.read_holder(str(shares.root / "run")) is not None
            assert not joining.done()
        finally:
            gate.set()
        assert fetching.result()["models"][0]["state"] == "fetched"
        assert joining.result()["changed"]


def test_run_that_is_killed_at_any_change_loses_nothing_and_the_next_one_ends_it(tmp_path: Path) -> None:
    number, died = 0, True
    while died:
        number += 1
        root = tmp_path / str(number)
        root.mkdir()
        shares = Shares(root)
        for name in ("first", "second", "third"):
            shares.add(name, ONE)
        died = "died" in shares.run(fault=Fault(number, die, CHANGES))
        assert (
            shares.files().items() >= {f"comfyui_models/{name}": ONE for name in ("first", "second", "third")}.items()
        )
        shares.run()
        assert shares.files() == {f"comfyui_models/{name}": ONE for name in ("first", "second", "third")}
        assert len(set(shares.inodes().values())) == 1
    assert number > 3


def test_share_of_another_studio_is_refused(shares: Shares) -> None:
    add_copies(shares)
    before = shares.inodes()
    answer = shares.run(studio_id="another")
    assert answer["failed"]
    assert shares.inodes() == before


def test_fresh_host_is_predicted_to_change_nothing(shares: Shares) -> None:
    trees = [{"name": "comfyui_models", "path": "/nowhere", "account": "no-such-account"}]
    assert shares.run(check=True, trees=trees)["changed"] is False
    assert "Run the playbook storage first" in shares.run(trees=trees)["msg"]


def test_documented_example_runs(shares: Shares) -> None:
    (task,) = yaml.safe_load(model_duplicates.EXAMPLES)
    (tree,) = task["noslop.studio.model_duplicates"]["trees"]
    for name in ("one", "two"):
        shares.add(name, ONE)
    answer = shares.run(trees=[{**tree, "path": str(shares.comfyui), "account": getpass.getuser()}])
    assert list(states(answer).values()) == ["linked"]
