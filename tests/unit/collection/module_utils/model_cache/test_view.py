# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the tree of links that programs read in place of a share."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.model_cache import view
from ansible_collections.noslop.studio.plugins.module_utils.model_cache.layout import CachedShare

from tests.support.ollama_models import write_model


def list_tree(top: Path) -> dict[str, str]:
    return {
        str(path.relative_to(top)): os.readlink(path) if path.is_symlink() else "" for path in sorted(top.rglob("*"))
    }


def test_view_becomes_what_is_wanted_and_then_stays(tmp_path: Path) -> None:
    links = {"loras/a": "/share/loras/a", "vae/deep/b": "/cache/files/b"}
    assert view.apply(str(tmp_path), ["loras", "empty"], links)
    assert list_tree(tmp_path) == {"loras": "", "empty": "", "vae": "", "vae/deep": "", **links}
    assert not view.apply(str(tmp_path), ["loras", "empty"], links)


@pytest.mark.parametrize(
    "links",
    [{}, {"a": "/1"}, {"a": "/2"}, {"a/b": "/1"}, {"a/b/c": "/1", "a/d": "/2"}, {"a/b": "/2", "d": "/3"}],
)
@pytest.mark.parametrize("before", [{}, {"a": "/1"}, {"a/b": "/1"}, {"a/b/c": "/1"}, {"a/d/e": "/4", "d/x": "/5"}])
def test_every_view_can_become_every_other_one(tmp_path: Path, before: dict[str, str], links: dict[str, str]) -> None:
    view.apply(str(tmp_path), [], before)
    assert view.apply(str(tmp_path), [], links) == (before != links)
    assert view.list_links(str(tmp_path)) == links
    assert not view.apply(str(tmp_path), [], links)


def test_file_that_a_program_left_is_replaced_and_a_kept_one_stays(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests/m").write_text("manifest")
    (tmp_path / "a").write_text("left")
    view.apply(str(tmp_path), [], {"a": "/share/a"}, ["manifests/m"])
    assert os.readlink(tmp_path / "a") == "/share/a"
    assert (tmp_path / "manifests/m").read_text() == "manifest"


def test_what_is_on_the_share_only_is_hidden(tmp_path: Path) -> None:
    share = CachedShare("ollama_models", "/share", str(tmp_path), "studio")
    for path in (share.view, share.files):
        Path(path).mkdir()
    write_model(Path(share.view), "whole:1b", b"weights")
    write_model(Path(share.view), "part:1b", b"other weights")
    for blob in Path(share.view, "blobs").iterdir():
        digest = blob.name.removeprefix("sha256-")
        if digest != hashlib.sha256(b"other weights").hexdigest():
            os.replace(blob, share.locate_copy(digest))
            blob.symlink_to(share.locate_copy(digest))
        else:
            blob.unlink()
            blob.symlink_to(f"/share/blobs/{blob.name}")
    assert view.hide_share(share)
    manifests = [path for path in Path(share.view, "manifests").rglob("*") if path.is_file()]
    assert [path.parent.name for path in manifests] == ["whole"]
    assert all(Path(target).exists() for target in view.list_links(share.view).values())
    assert len(view.list_links(share.view)) == 3
    assert not view.hide_share(share)


def test_copy_is_removed_after_its_link_leads_to_the_share(tmp_path: Path) -> None:
    share = CachedShare("comfyui_models", "/share", str(tmp_path), "studio")
    Path(share.files).mkdir()
    Path(share.locate_copy("ab")).write_text("content")
    Path(share.view).mkdir()
    view.apply(share.view, [], {"loras/a": share.locate_copy("ab"), "loras/b": "/share/loras/b"})
    view.remove_copies(share, ["ab", "never there"])
    assert view.list_links(share.view) == {"loras/a": "/share/loras/a", "loras/b": "/share/loras/b"}
    assert list(Path(share.files).iterdir()) == []
