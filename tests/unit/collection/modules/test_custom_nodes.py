# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that custom nodes get to the share whole, are linked in one step, and nothing of others is replaced."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.module_utils.install import node_store
from ansible_collections.noslop.studio.plugins.modules import custom_nodes

from tests.support.module_runner import Fault, die, run_module

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two accounts")
#: Accounts of every Debian. No other test uses the first: a build kills all processes of its account.
BUILDER, OWNER = "uucp", "news"


class Studio:
    """A share of custom nodes, and a repository of one node."""

    def __init__(self, root: Path) -> None:
        for path in (root.parent.parent, root.parent, root):
            path.chmod(0o755)
        self.root, self.share, self.repo = root, root / "custom_nodes", root / "painter"
        self.builder = self.owner = getpass.getuser()
        self.share.mkdir()
        marker = {"studio_id": "studio", "share": "comfyui_custom_nodes", "share_id": "1"}
        (self.share / ".noslop-share").write_text(json.dumps(marker))
        (self.repo / "web").mkdir(parents=True)
        (self.repo / "web" / "painter.js").write_text("")
        self.git("init", "--quiet")
        self.commits = [self.commit(str(number)) for number in range(5)]

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
        done = subprocess.run(
            ["git", "-C", str(self.repo), *identity, *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, version: str) -> str:
        (self.repo / "__init__.py").write_text(version)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", version)
        return self.git("rev-parse", "HEAD")

    def node(self, number: int = 0, **more: object) -> dict[str, Any]:
        return {"name": "Painter", "repo": str(self.repo), "commit": self.commits[number], **more}

    def install(
        self, *nodes: dict[str, Any], check: bool = False, fault: Fault | None = None, **more: object
    ) -> dict[str, Any]:
        arguments = {
            "path": str(self.share),
            "account": self.owner,
            "builder": self.builder,
            "studio_id": "studio",
            "programs": str(self.root / "opt"),
            "nodes": list(nodes),
        }
        return run_module("custom_nodes", {**arguments, **more}, check=check, fault=fault)

    def version(self) -> str:
        return (self.share / "Painter" / "__init__.py").read_text()

    def names(self) -> list[str]:
        return sorted(path.name for path in self.share.iterdir() if path.name[0] != ".")


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


def test_node_is_fetched_linked_updated_and_rolled_back_without_the_repository(studio: Studio) -> None:
    assert studio.install(studio.node(), check=True)["linked"] == ["Painter"]
    assert studio.names() == []
    assert studio.install(studio.node(), state="fetched")["fetched"] == ["Painter"]
    assert studio.names() == []
    assert studio.install(studio.node(), state="fetched")["changed"] is False
    assert studio.install(studio.node())["linked"] == ["Painter"]
    assert os.readlink(studio.share / "Painter") == f".noslop-nodes.disabled/Painter/{studio.commits[0]}"
    assert (studio.share / "Painter/web/painter.js").exists()
    assert studio.install(studio.node())["changed"] is False
    studio.install(studio.node(1))
    assert studio.version() == "1"
    shutil.move(studio.repo, studio.root / "gone")
    assert studio.install(studio.node())["fetched"] == []
    assert studio.version() == "0"
    assert studio.install(studio.node(2))["failed"]
    assert studio.version() == "0"


def test_three_revisions_stay_and_a_removed_node_keeps_them(studio: Studio) -> None:
    for number in (0, 1, 2, 0, 3):
        result = studio.install(studio.node(number))
    assert result["removed"] == [f"Painter/{studio.commits[1]}"]
    assert studio.install()["unlinked"] == ["Painter"]
    assert studio.names() == []
    kept = sorted(os.listdir(studio.share / node_store.STORE / "Painter"))
    assert kept == sorted(studio.commits[number] for number in (0, 2, 3))


@pytest.mark.parametrize("kind", ["tar.gz", "zip", "bare.tgz"])
def test_archives_are_unpacked_when_their_checksum_is_right(studio: Studio, kind: str) -> None:
    archive = studio.root / f"painter.{kind}"
    top = "" if kind == "bare.tgz" else "painter-1.0/"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as stream:
            stream.writestr(f"{top}__init__.py", "zipped")
            stream.writestr(f"{top}../../outside", "")
    else:
        with tarfile.open(archive, "w:gz") as packed:
            packed.add(studio.repo / "__init__.py", f"{top}__init__.py")
            packed.add(studio.repo / "web", f"{top}web")
    node = {"name": "Painter", "archive": str(archive), "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}
    assert studio.install(node)["linked"] == ["Painter"]
    assert studio.version() == ("zipped" if kind == "zip" else "4")
    assert (studio.share / "Painter/outside").exists() == (kind == "zip")  # what would leave the directory stays in it
    with archive.open("ab") as stream:
        stream.write(b"\0")
    shutil.rmtree(studio.share / node_store.STORE)
    (studio.share / "Painter").unlink()
    assert "was not unpacked: its SHA-256 is" in studio.install(node)["msg"]
    assert studio.names() == []


def test_entries_of_others_are_listed_and_never_replaced(studio: Studio) -> None:
    subprocess.run(["git", "clone", "--quiet", str(studio.repo), str(studio.share / "Painter")], check=True)
    (studio.share / "by-hand").mkdir()
    (studio.share / "by-hand/pyproject.toml").write_text('[project]\nversion = "1.2"\n')
    (studio.share / "link").symlink_to(studio.repo)
    (studio.share / "off.disabled").mkdir()
    (studio.share / "single.py").write_text("")
    other = studio.node(name="other")

    answer = studio.install(studio.node(), other)

    assert "has Painter, which NoSlop did not install" in answer["msg"]
    assert studio.commits[4] in answer["msg"]
    assert not (studio.share / node_store.STORE).exists()
    listed = {node["name"]: (node["commit"], node["version"]) for node in studio.install(other)["others"]}
    link = (studio.commits[4], "")
    assert listed == {"Painter": link, "by-hand": ("", "1.2"), "link": link, "single.py": ("", "")}
    assert studio.install()["unlinked"] == ["other"]
    assert studio.names() == ["Painter", "by-hand", "link", "off.disabled", "single.py"]


def test_one_that_cannot_be_fetched_changes_no_link(studio: Studio) -> None:
    studio.install(studio.node())
    moved = studio.node(name="moved", commit="0" * 40)
    assert "has no tag or commit 000" in studio.install(studio.node(1), moved)["msg"]
    (studio.repo / "__init__.py").unlink()
    studio.git("commit", "--quiet", "--all", "--message", "empty")
    empty = studio.node(name="empty", commit=studio.git("rev-parse", "HEAD"))
    assert "has no __init__.py" in studio.install(studio.node(1), empty)["msg"]
    assert (studio.names(), studio.version()) == (["Painter"], "0")


def test_a_run_that_was_killed_anywhere_is_completed_by_the_next(studio: Studio) -> None:
    studio.install(studio.node(), state="fetched")
    studio.install(studio.node())
    changes = studio.install(studio.node(1), fault=Fault(0, die))["changes"]
    assert changes > 5
    for number in range(1, changes + 1, 7):
        shutil.rmtree(studio.share / node_store.STORE / "Painter" / studio.commits[1], ignore_errors=True)
        studio.install(studio.node())
        assert studio.install(studio.node(1), fault=Fault(number, die)).get("died") == 9
        assert studio.names() == ["Painter"]
        assert studio.version() in ("0", "1")
        studio.install(studio.node(1))
        assert studio.version() == "1"


@root_only
def test_each_part_runs_as_its_own_account(studio: Studio) -> None:
    studio.builder, studio.owner = BUILDER, OWNER
    shutil.chown(studio.share, OWNER, OWNER)
    assert studio.install(studio.node())["linked"] == ["Painter"]
    made = [path for path in studio.share.rglob("*") if path.name != ".noslop-share"]
    assert {path.lstat().st_uid for path in made} == {studio.share.stat().st_uid}
    assert stat.S_IMODE((studio.share / "Painter").stat().st_mode) == 0o2775


def test_documented_example_runs(studio: Studio) -> None:
    (task,) = yaml.safe_load(custom_nodes.EXAMPLES.replace("{{ noslop_studio_id }}", "studio"))
    arguments = task["noslop.studio.custom_nodes"]
    (node,) = arguments["nodes"]
    assert studio.install({**node, **studio.node(name=node["name"])})["linked"] == ["painter"]
