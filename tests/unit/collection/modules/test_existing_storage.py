# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the steps of a probe on one host: directories and markers of the right owners, and nothing of others changed."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.modules import existing_storage

from tests.support.module_runner import run_module

PEOPLE, MODELS, FOREIGN = 2600, 2601, 4242

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount, and act as other accounts")


@pytest.fixture
def root() -> Iterator[Path]:
    """Return a directory on a mount of its own, which may contain shares, unlike /tmp."""
    with tempfile.TemporaryDirectory(prefix="noslop-test-", dir="/srv") as name:
        Path(name).chmod(0o755)
        subprocess.run(["mount", "--bind", name, name], check=True)
        yield Path(name)
        subprocess.run(["umount", name], check=True)


@pytest.fixture
def studio(root: Path) -> dict[str, Any]:
    """Return the module's arguments for two shares."""
    return {
        "root": str(root),
        "shares": [
            {"name": "projects", "path": str(root / "projects"), "uid": PEOPLE, "gid": PEOPLE},
            {"name": "comfyui_models", "path": str(root / "comfyui/models"), "uid": MODELS, "gid": MODELS},
        ],
        "studio_id": "atelier",
        "group_gid": PEOPLE,
        "min_free_gb": 0,
    }


def run(phase: str, studio: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
    return run_module("existing_storage", {"phase": phase, **studio}, check=check)


def look(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


def probe(studio: dict[str, Any]) -> dict[str, Any]:
    """Run the steps of a probe of one host, and return the results of both measurements."""
    prepared = run("prepare", studio)
    step = {**studio, "host": "server", "hosts": ["server"], "participants": ["server"]}
    step |= {"probed": prepared["probed"], "run_id": prepared["run_id"]}
    measured = run("measure", step)
    met = run("meet", {**step, "peers": {"server": measured["measured"]}})
    run("clean", step)
    return {**measured, **met}


def test_directories_are_made_for_their_accounts(root: Path, studio: dict[str, Any]) -> None:
    prepared = run("prepare", studio)

    assert prepared["changed"]
    assert look(root / "projects") == (PEOPLE, PEOPLE, 0o2775)
    assert look(root / "comfyui/models") == (MODELS, MODELS, 0o2775)
    assert look(root / "comfyui") == (0, 0, 0o755)
    assert prepared["probed"] == ["projects"]
    assert look(root / "projects/.noslop-probe-atelier") == (PEOPLE, PEOPLE, 0o2700)
    assert not run("prepare", studio)["changed"]


def test_one_host_alone_measures_and_leaves_nothing(root: Path, studio: dict[str, Any]) -> None:
    results = probe(studio)

    assert results["measured"]["projects"]["features"]["owner"] == [PEOPLE, PEOPLE]
    assert results["root_errors"] == {"projects": "", "comfyui_models": ""}
    assert results["met"]["projects"]["meeting"]["content"] == {}
    assert os.listdir(root / "projects") == []


def test_markers_are_written_once_and_belong_to_the_account(root: Path, studio: dict[str, Any]) -> None:
    run("prepare", studio)

    first, second = run("mark", studio), run("mark", studio)

    assert first["changed"]
    assert not second["changed"]
    assert look(root / "projects/.noslop-share") == (PEOPLE, PEOPLE, 0o444)
    assert look(root / "comfyui/models/.noslop-share") == (MODELS, MODELS, 0o444)


@pytest.mark.parametrize("phase", ["prepare", "mark"])
def test_share_of_another_studio_is_refused_and_keeps_its_owner(root: Path, studio: dict[str, Any], phase: str) -> None:
    run("prepare", studio)
    run("mark", studio)
    others = [{**share, "uid": FOREIGN, "gid": FOREIGN} for share in studio["shares"]]

    refused = run(phase, {**studio, "studio_id": "other", "shares": others})

    assert refused["failed"]
    assert "it belongs to the studio 'atelier'" in refused["msg"]
    assert look(root / "projects") == (PEOPLE, PEOPLE, 0o2775)


def test_check_mode_makes_nothing(root: Path, studio: dict[str, Any]) -> None:
    predicted = run("prepare", studio, check=True)

    assert predicted["changed"]
    assert predicted["made"] == [str(root / "projects"), str(root / "comfyui/models")]
    assert run("measure", {**studio, "host": "server", "hosts": ["server"]}, check=True)["measured"] == {}
    assert os.listdir(root) == []


def test_what_an_interrupted_probe_left_is_removed(root: Path, studio: dict[str, Any]) -> None:
    run("prepare", studio)
    left = root / "projects/.noslop-probe-atelier/own.3"
    left.mkdir()
    (left / "large").write_bytes(b"left")
    os.chown(left, PEOPLE, PEOPLE)

    assert not run("prepare", studio).get("failed")
    assert os.listdir(root / "projects/.noslop-probe-atelier") == []


def test_path_on_the_disk_of_the_system_is_refused_before_anything_is_made(studio: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="noslop-test-", dir="/srv") as name:
        shares = [{**share, "path": f"{name}/{share['name']}"} for share in studio["shares"]]
        refused = run("prepare", {**studio, "root": name, "shares": shares})

        assert refused["failed"]
        assert "lies on this host's own disk with the operating system" in refused["msg"]
        assert os.listdir(name) == []


def test_files_of_others_keep_their_owner_and_the_commands_are_named(root: Path, studio: dict[str, Any]) -> None:
    (root / "projects").mkdir()
    (root / "projects/film").write_text("theirs")
    os.chown(root / "projects", FOREIGN, FOREIGN)

    refused = run("prepare", studio)

    assert refused["failed"]
    assert f"it belongs to {FOREIGN}:{FOREIGN}" in refused["msg"]
    assert "install -d -o 2600 -g 2600 -m 2775 projects" in refused["msg"]
    assert "install -d -o 2601" not in refused["msg"]
    assert look(root / "projects")[:2] == (FOREIGN, FOREIGN)


def test_root_without_rights_is_answered_with_the_commands_for_the_file_server(
    root: Path, studio: dict[str, Any]
) -> None:
    subprocess.run(["mount", "-o", "remount,bind,ro", root], check=True)

    refused = run("prepare", studio)

    assert refused["failed"]
    assert "Read-only file system" in refused["msg"]
    assert "install -d -m 0755 comfyui; install -d -o 2601 -g 2601 -m 2775 comfyui/models" in refused["msg"].replace(
        "install -d -o 2600 -g 2600 -m 2775 projects; ", ""
    )
    assert f"{root}/projects with uid=2600,gid=2600" in refused["msg"]


def test_account_that_may_not_write_is_named(root: Path, studio: dict[str, Any]) -> None:
    run("prepare", studio)
    (root / "projects/.noslop-probe-atelier").rmdir()
    os.chmod(root, 0o700)

    refused = run("prepare", studio)

    assert refused["failed"]
    assert "projects: Permission denied" in refused["msg"]


def test_link_in_place_of_a_share_is_refused(root: Path, studio: dict[str, Any]) -> None:
    (root / "elsewhere").mkdir()
    (root / "projects").symlink_to(root / "elsewhere")

    refused = run("prepare", studio)

    assert refused["failed"]
    assert "is a symbolic link to" in refused["msg"]


def test_documented_example_runs(root: Path) -> None:
    text = existing_storage.EXAMPLES.replace("/mnt/noslop", str(root))
    (task,) = yaml.safe_load(text)

    prepared = run_module("existing_storage", {**task["noslop.studio.existing_storage"], "min_free_gb": 0})

    assert prepared["made"] == [str(root / "projects"), str(root / "comfyui/models")]
