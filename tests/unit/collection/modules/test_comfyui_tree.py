"""Test that ComfyUI's source belongs to root, and that each share is filled as its owner, without following links."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.module_utils.install import release_dir
from ansible_collections.noslop.studio.plugins.modules import comfyui_tree

from tests.support.module_runner import run_module

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two accounts")
#: Accounts of every Debian without processes.
BUILDER, OWNER = "games", "news"


class Host:
    """A repository, two shares and a host that installs from them."""

    def __init__(self, root: Path) -> None:
        for path in (root.parent.parent, root.parent, root):
            path.chmod(0o755)
        self.repo, self.programs = root / "ComfyUI", root / "opt"
        self.base = self.programs / "comfyui"
        self.shares = {name: root / "shares" / name for name in ("models", "custom_nodes")}
        self.builder = self.owner = getpass.getuser()
        for name, share in self.shares.items():
            share.mkdir(parents=True)
            marker = {"studio_id": "studio", "share": f"comfyui_{name}", "share_id": "x"}
            (share / ".noslop-share").write_text(json.dumps(marker))
        for name in ("main.py", "models/configs/v1.yaml", "custom_nodes/example.py"):
            (self.repo / name).parent.mkdir(parents=True, exist_ok=True)
            (self.repo / name).write_text(name)
        self.git("init", "--quiet")
        self.commit("v1")

    def git(self, *words: str) -> None:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", "-C", str(self.repo), *identity, *words], check=True, capture_output=True)

    def commit(self, tag: str) -> None:
        (self.repo / "version").write_text(tag)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", tag)
        self.git("tag", tag)

    def install(self, revision: str = "v1", *, check: bool = False, **more: object) -> dict[str, Any]:
        links = [
            {"name": name, "path": str(share), "share": f"comfyui_{name}", "account": self.owner, "directories": below}
            for (name, share), below in zip(self.shares.items(), (["checkpoints", "loras"], []), strict=True)
        ]
        arguments: dict[str, Any] = {
            "base": str(self.base),
            "programs": str(self.programs),
            "repo": str(self.repo),
            "revision": revision,
            "links": links,
            "builder": self.builder,
            "studio_id": "studio",
        }
        answer = run_module("comfyui_tree", {**arguments, **more}, check=check)
        if not check and not answer.get("failed"):
            release_dir.make_current(str(self.base), revision)  # as service_switch does
        return answer


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_revision_is_installed_once(host: Host) -> None:
    assert host.install(check=True)["changed"]
    assert not host.base.exists()
    assert host.install()["installed"]
    assert (host.base / "current" / "main.py").read_text() == "main.py"
    assert os.readlink(host.base / "v1" / "models") == str(host.shares["models"])
    assert sorted(os.listdir(host.shares["models"])) == [".noslop-share", "checkpoints", "configs", "loras"]
    assert stat.S_IMODE((host.shares["models"] / "loras").stat().st_mode) == 0o2775
    assert (host.shares["custom_nodes"] / "example.py").exists()
    shutil.move(host.repo, host.repo.with_name("gone"))
    assert not host.install()["changed"]
    assert host.install(revision="v2")["failed"]


def test_documented_example_runs(host: Host) -> None:
    text = comfyui_tree.EXAMPLES.replace("/opt/noslop", str(host.programs)).replace("v0.3.64", "v1")
    text = text.replace("https://github.com/Comfy-Org/ComfyUI.git", str(host.repo))
    text = text.replace("/mnt/noslop/comfyui", str(host.shares["models"].parent))
    (task,) = yaml.safe_load(text.replace("noslop-models", host.owner).replace("{{ noslop_studio_id }}", "studio"))
    arguments = task["noslop.studio.comfyui_tree"]

    result = run_module("comfyui_tree", {**arguments, "programs": str(host.programs), "builder": host.builder})

    assert result["installed"], result
    assert sorted(os.listdir(host.shares["models"])) == [".noslop-share", "checkpoints", "configs", "loras"]


def test_branches_and_moved_tags_are_refused(host: Host) -> None:
    host.git("branch", "newest")
    assert "is a branch of" in host.install("newest")["msg"]
    assert "find out who moved the tag" in host.install(commit="0" * 40)["msg"]
    assert not (host.base / "v1").exists()


def test_three_versions_and_the_previous_one_stay(host: Host) -> None:
    for number in range(2, 7):
        host.commit(f"v{number}")
    for number in (1, 2, 3, 4, 5):
        host.install(f"v{number}")
    host.install("v3")  # the link to the previous version
    host.install("v6")
    assert sorted(os.listdir(host.base)) == ["current", "previous", "v3", "v4", "v5", "v6"]
    assert os.readlink(host.base / "previous") == "v3"


@root_only
def test_each_part_runs_as_its_own_account(host: Host) -> None:
    host.builder, host.owner = BUILDER, OWNER
    for share in host.shares.values():
        shutil.chown(share, OWNER, OWNER)
    # git refuses a repository of another account, except the one that is named.
    shutil.chown(host.repo / ".git", "nobody")
    assert host.install()["installed"]
    for path in [host.base, *host.base.rglob("*")]:
        assert path.lstat().st_uid == 0
    owners = {path.owner() for share in host.shares.values() for path in share.rglob("*") if path.name[0] != "."}
    assert owners == {OWNER}


@root_only
def test_read_only_share_is_not_changed(host: Host) -> None:
    host.owner = OWNER
    for share in host.shares.values():  # read-only for the owner
        share.chmod(0o755)
    answer = host.install()
    assert answer["installed"]
    assert answer["read_only"] == [str(share) for share in host.shares.values()]
    assert os.listdir(host.shares["custom_nodes"]) == [".noslop-share"]
    assert not host.install()["changed"]
