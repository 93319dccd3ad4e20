# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the shared directories: each has its own account, also after an upgrade, and no link leads out of them."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import Mount
from ansible_collections.noslop.studio.plugins.module_utils.share import own_file_system
from ansible_collections.noslop.studio.plugins.modules import share_directories

from tests.support.module_runner import CHANGES, Fault, die, run_module

OLD, MODELS, FOREIGN = 2600, 2601, 4242

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to accounts")


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a directory that may contain shares, unlike /tmp."""
    with tempfile.TemporaryDirectory(prefix="noslop-test-", dir="/srv") as directory:
        yield Path(directory)


@pytest.fixture
def studio(place: Path) -> dict[str, Any]:
    """Return the module's arguments: two shares below a root."""
    root = place / "studio"
    return {
        "root": str(root),
        "shares": [
            {"name": "projects", "path": str(root / "projects"), "uid": OLD, "gid": OLD},
            {"name": "models", "path": str(root / "comfyui/models"), "uid": MODELS, "gid": MODELS},
        ],
        "studio_id": "atelier",
        "gid": OLD,
        "previous_uid": OLD,
        "previous_gid": OLD,
        "min_free_gb": 0,
    }


@pytest.fixture
def earlier(studio: dict[str, Any]) -> Path:
    """Make the same shares as the previous version: all of one account, with files. Returns the models."""
    shares = [{**share, "uid": OLD, "gid": OLD} for share in studio["shares"]]
    assert run_module("share_directories", {**studio, "shares": shares})["changed"]
    models = Path(studio["shares"][1]["path"])
    (models / "vae").mkdir()
    (models / "vae" / "flux.safetensors").write_bytes(b"weights")
    (models / "of-somebody").write_bytes(b"theirs")
    for path in (models / "vae", models / "vae" / "flux.safetensors"):
        os.chown(path, OLD, OLD)
    os.chown(models / "of-somebody", FOREIGN, OLD)
    return models


def owner(path: Path) -> tuple[int, int]:
    about = path.lstat()
    return about.st_uid, about.st_gid


def snapshot(path: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Return owner, mode and content of everything in a tree."""

    def walk() -> Iterator[Path]:
        yield path
        yield from sorted(path.rglob("*"))

    return {
        str(one): (
            one.lstat().st_uid,
            one.lstat().st_gid,
            one.lstat().st_mode,
            one.read_bytes() if stat.S_ISREG(one.lstat().st_mode) else b"",
        )
        for one in walk()
    }


def test_each_share_belongs_to_its_own_account(studio: dict[str, Any]) -> None:
    result = run_module("share_directories", studio)

    assert result["changed"]
    root = Path(studio["root"])
    assert (owner(root), root.stat().st_mode & 0o7777) == ((0, OLD), 0o750)
    for share in studio["shares"]:
        path = Path(share["path"])
        assert (owner(path), path.stat().st_mode & 0o7777) == ((share["uid"], share["gid"]), 0o2775)
        marker = path / ".noslop-share"
        assert (owner(marker), marker.stat().st_mode & 0o7777) == ((share["uid"], share["gid"]), 0o444)
    assert not run_module("share_directories", studio)["changed"]


def test_documented_example_runs(place: Path) -> None:
    (task,) = yaml.safe_load(share_directories.EXAMPLES.replace("/mnt/noslop", str(place / "noslop")))

    result = run_module("share_directories", {**task["noslop.studio.share_directories"], "min_free_gb": 0})

    assert result["changed"], result
    assert owner(place / "noslop/comfyui/models") == (2601, 2601)


def test_share_of_the_previous_version_gets_its_new_owner(studio: dict[str, Any], earlier: Path) -> None:
    marker = (earlier / ".noslop-share").read_text(encoding="utf-8")
    predicted = run_module("share_directories", studio, check=True)
    assert owner(earlier) == (OLD, OLD)

    result = run_module("share_directories", studio)

    assert predicted["brought_over"] == result["brought_over"] == [str(earlier)]
    assert set(predicted["made"]) >= set(result["made"])
    for name in ("", "vae", "vae/flux.safetensors", ".noslop-share"):
        assert owner(earlier / name) == (MODELS, MODELS), name
    assert owner(earlier / "of-somebody") == (FOREIGN, OLD)
    assert (earlier / "vae/flux.safetensors").read_bytes() == b"weights"
    assert (earlier / ".noslop-share").read_text(encoding="utf-8") == marker
    assert owner(Path(studio["shares"][0]["path"])) == (OLD, OLD)
    assert not run_module("share_directories", studio)["changed"]


def test_killed_run_is_completed_by_the_next(studio: dict[str, Any], earlier: Path) -> None:
    events = CHANGES | {"os.chown"}
    calls = 0
    for number in range(1, 100):
        for path in (earlier, earlier / "vae", earlier / "vae/flux.safetensors", earlier / ".noslop-share"):
            os.chown(path, OLD, OLD)
        earlier.chmod(0o2775)
        result = run_module("share_directories", studio, fault=Fault(number, die, events))
        if "died" not in result:
            break
        calls += 1
        assert "failed" not in run_module("share_directories", studio)
        owners = {name: owner(earlier / name) for name in ("", "vae", "vae/flux.safetensors", ".noslop-share")}
        assert set(owners.values()) == {(MODELS, MODELS)}, (number, owners)
    assert calls >= 4


def test_file_with_a_hard_link_outside_keeps_its_owner(studio: dict[str, Any], earlier: Path, place: Path) -> None:
    outside = place / "authorized_keys"
    outside.write_bytes(b"key")
    os.chown(outside, OLD, OLD)
    root_file = place / "shadow"
    root_file.write_bytes(b"root")
    os.link(outside, earlier / "linked")
    os.link(root_file, earlier / "vae/linked")

    run_module("share_directories", studio)

    assert owner(outside) == (OLD, OLD)
    assert owner(root_file) == (0, 0)
    assert owner(earlier) == (MODELS, MODELS)


@pytest.mark.parametrize("target", ["directory", "file", "missing"])
@pytest.mark.parametrize("planted", [".", "vae", "vae/flux.safetensors", "new", ".noslop-share"])
def test_planted_link_is_not_followed(
    studio: dict[str, Any], earlier: Path, place: Path, planted: str, target: str
) -> None:
    """Test that the target of the link does not change, whatever the result of the module."""
    outside = place / "outside"
    (outside / "directory").mkdir(parents=True)
    for path in (outside / "file", outside / "directory" / ".noslop-share"):
        path.write_bytes((earlier / ".noslop-share").read_bytes())
    for path in (outside, *outside.rglob("*")):
        os.chown(path, OLD, OLD)
    before = snapshot(outside)
    link = earlier / planted if planted != "." else earlier
    if link.exists():
        os.rename(link, place / "replaced")
    link.symlink_to(outside / target)

    result = run_module("share_directories", studio)

    assert snapshot(outside) == before
    assert result.get("failed", False) == (planted in (".", ".noslop-share")), result


def test_hard_linked_marker_is_replaced_and_not_changed(studio: dict[str, Any], earlier: Path, place: Path) -> None:
    outside = place / "outside"
    os.rename(earlier / ".noslop-share", outside)
    os.link(outside, earlier / ".noslop-share")
    before = snapshot(outside)

    run_module("share_directories", studio)

    assert snapshot(outside) == before
    assert owner(earlier / ".noslop-share") == (MODELS, MODELS)


def test_shares_among_other_files_are_refused_when_required(studio: dict[str, Any]) -> None:
    result = run_module("share_directories", {**studio, "require_own_file_system": True})

    assert result["failed"]
    for word in (*(share["path"] for share in studio["shares"]), "forge file handles", "lvcreate", "mkfs.ext4"):
        assert word in result["msg"]
    assert not Path(studio["root"]).exists()


def mount(point: str, device: str, root: str = "/") -> Mount:
    return Mount(point, "ext4", "/dev/sda1", device, root)


@pytest.mark.parametrize(
    ("mounts", "own"),
    [
        ([], False),
        ([mount("/mnt/noslop", "8:2")], True),
        ([mount("/mnt/noslop/projects", "8:2")], True),
        ([mount("/mnt", "8:2")], False),
        # A bind mount of the system disk, whole or in part, and a Btrfs subvolume.
        ([mount("/mnt/noslop/projects", "8:1", "/srv/projects")], False),
        ([mount("/mnt/noslop/projects", "8:1")], False),
        ([mount("/mnt/noslop/projects", "0:31", "/@projects")], False),
    ],
)
def test_only_a_separate_file_system_counts_as_own(mounts: list[Mount], own: bool) -> None:
    table = [mount("/", "8:1"), *mounts]
    assert own_file_system.has_own(table, "/mnt/noslop", "/mnt/noslop/projects") is own
