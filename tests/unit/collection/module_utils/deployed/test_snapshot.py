# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what is read of a host for a comparison."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.deployed import snapshot
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account

KEY = b"k" * 32
OWN = Account(os.geteuid(), os.getegid(), ())
STATUS = """\
Package: nfs-common
Status: install ok installed
Description: NFS
 Status: not a field

Package: libc6
Status: install ok installed

Package: samba
Status: deinstall ok config-files
"""
STATES = """\
Package: libc6
Architecture: amd64
Auto-Installed: 1

Package: nfs-common
Auto-Installed: 0
"""


def test_packages_that_were_asked_for_and_are_installed_are_listed(tmp_path: Path) -> None:
    (tmp_path / "status").write_text(STATUS)
    (tmp_path / "states").write_text(STATES)
    assert list(snapshot.read_packages(str(tmp_path / "status"), str(tmp_path / "states"))) == ["nfs-common"]
    assert snapshot.read_packages(str(tmp_path / "none"), str(tmp_path / "none")) == {}


def test_programs_have_their_trees_and_the_links_to_their_versions(tmp_path: Path) -> None:
    (tmp_path / "ollama/1.0/bin").mkdir(parents=True)
    (tmp_path / "ollama/current").symlink_to("1.0")
    (tmp_path / ".build").mkdir()
    programs = snapshot.read_programs(KEY, str(tmp_path))
    assert list(programs) == [str(tmp_path), f"{tmp_path}/ollama", f"{tmp_path}/ollama/current"]
    assert programs[f"{tmp_path}/ollama/current"]["target"] == "1.0"
    assert snapshot.read_programs(KEY, str(tmp_path / "missing")) == {}


def make_shares(top: Path) -> list[dict[str, str]]:
    for name in ("models/loras", "nodes/pack", "projects/film", "ollama/blobs"):
        (top / name).mkdir(parents=True)
    (top / "nodes/pack/node.py").write_text("a = 1\n")
    (top / "nodes/.store/listed-1").mkdir(parents=True)
    (top / "nodes/.store/listed-1/node.py").write_text("b = 1\n")
    (top / "nodes/listed").symlink_to(".store/listed-1")
    (top / "projects/.noslop-share").write_text("{}")
    return [
        {"name": "comfyui_models", "path": f"{top}/models", "writers": "members"},
        {"name": "comfyui_custom_nodes", "path": f"{top}/nodes", "writers": "server"},
        {"name": "ollama_models", "path": f"{top}/ollama", "writers": "members"},
        {"name": "projects", "path": f"{top}/projects", "writers": "members"},
    ]


CHANGES: dict[str, Callable[[Path], object]] = {
    "mode of a share": lambda top: (top / "projects").chmod(0o700),
    "marker": lambda top: (top / "projects/.noslop-share").unlink(),
    "folder of models": lambda top: (top / "models/loras").rmdir(),
    "mode of Ollama's blobs": lambda top: (top / "ollama/blobs").chmod(0o700),
    "content of a custom node": lambda top: (top / "nodes/pack/node.py").write_text("import os\n"),
    "content of a node of the list": lambda top: (top / "nodes/.store/listed-1/node.py").write_text("import os\n"),
    "custom node": lambda top: (top / "nodes/pack").rename(top / "nodes/other"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change_of_what_a_deployment_makes_on_shares_is_noticed(tmp_path: Path, change: str) -> None:
    shares = make_shares(tmp_path)
    owners = dict.fromkeys((share["name"] for share in shares), OWN)
    before = snapshot.read_shares(shares, owners, KEY, 30)
    CHANGES[change](tmp_path)
    assert snapshot.read_shares(shares, owners, KEY, 30) != before


def test_work_on_shares_is_no_change(tmp_path: Path) -> None:
    shares = make_shares(tmp_path)
    owners = dict.fromkeys((share["name"] for share in shares), OWN)
    before = snapshot.read_shares(shares, owners, KEY, 30)
    (tmp_path / "projects/film/take.mp4").write_text("a")
    (tmp_path / "projects/new").mkdir()
    (tmp_path / "models/loras/style.safetensors").write_text("a")
    (tmp_path / "models/my_folder").mkdir()
    (tmp_path / "ollama/blobs/sha256-1").write_text("a")
    assert snapshot.read_shares(shares, owners, KEY, 30) == before


def test_share_that_cannot_be_read_is_a_difference(tmp_path: Path) -> None:
    share = {"name": "comfyui_custom_nodes", "path": str(tmp_path / "missing"), "writers": "server"}
    entries = snapshot.read_shares([share], {share["name"]: OWN}, KEY, 30)
    assert list(entries) == [share["path"]]
    assert "No such file" in entries[share["path"]]["error"]


def test_each_mount_of_the_kernel_has_its_options() -> None:
    mounts = snapshot.read_mounts(["/", "/proc", "/not/mounted"])
    assert {"mount /", "mount /proc"} == set(mounts)
    assert mounts["mount /proc"]["type"] == "proc"
    assert "rw" in mounts["mount /proc"]["options"].split(",")


def test_accounts_have_numbers_groups_home_and_shell() -> None:
    accounts = snapshot.read_accounts(["root", "no-such-account"])
    assert accounts["root"]["numbers"] == "0:0"
    assert set(accounts["root"]) == {"numbers", "groups", "home", "shell"}
    assert "no-such-account" not in accounts
