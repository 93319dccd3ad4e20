# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a view is like its share, with copies where there are any of the files as they are now."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.model_cache import copying, follower, view
from ansible_collections.noslop.studio.plugins.module_utils.model_cache.layout import CachedShare
from ansible_collections.noslop.studio.plugins.module_utils.share import access

from tests.support.ollama_models import write_model

CONTENT = b"weights of a model"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def make_share(root: Path, name: str = "comfyui_models") -> CachedShare:
    (root / "share/loras").mkdir(parents=True)
    (root / "cache").mkdir()
    (root / "share/.noslop-share").write_text(json.dumps({"studio_id": "here", "share": name}))
    (root / "share/loras/a").write_bytes(CONTENT)
    (root / "share/loras/unlisted").write_bytes(CONTENT)
    return CachedShare(name, str(root / "share"), str(root / "cache"), "here", digests={"loras/a": DIGEST})


def copy(share: CachedShare, path: str) -> None:
    status = Path(share.path, path).stat()
    copying.copy(share, path, share.find_digest(path), status.st_size, status.st_mtime_ns)


def test_name_leads_to_the_copy_and_to_the_share_again_when_the_file_changes(tmp_path: Path) -> None:
    share = make_share(tmp_path)
    one = follower.Follower(share)
    assert one.update()
    on_share = {path: f"{share.path}/{path}" for path in ("loras/a", "loras/unlisted")}
    assert view.list_links(share.view) == on_share
    copy(share, "loras/a")
    assert one.update()
    assert view.list_links(share.view) == {**on_share, "loras/a": share.locate_copy(DIGEST)}
    assert not one.update()
    with Path(share.path, "loras/a").open("ab") as stream:
        stream.write(b"more")
    assert one.update()
    assert view.list_links(share.view) == on_share
    assert os.listdir(share.files) == [], "no name of the share has this content any more"


def test_copy_of_a_file_that_is_removed_goes(tmp_path: Path) -> None:
    share = make_share(tmp_path)
    one = follower.Follower(share)
    one.update()
    copy(share, "loras/a")
    one.update()
    Path(share.path, "loras/a").unlink()
    one.update()
    assert list(view.list_links(share.view)) == ["loras/unlisted"]
    assert os.listdir(share.files) == []


def test_two_names_of_one_file_have_one_copy(tmp_path: Path) -> None:
    share = make_share(tmp_path)
    os.link(f"{share.path}/loras/a", f"{share.path}/loras/b")
    share.digests["loras/b"] = DIGEST  # type: ignore[index]  # a dictionary here
    one = follower.Follower(share)
    one.update()
    copy(share, "loras/b")
    one.update()
    assert [view.list_links(share.view)[f"loras/{name}"] for name in "ab"] == [share.locate_copy(DIGEST)] * 2


def test_files_that_could_be_copied_are_reported_when_a_program_opens_them(tmp_path: Path) -> None:
    share = make_share(tmp_path)
    one = follower.Follower(share)
    one.update()
    Path(share.view, "loras/unlisted").read_bytes()
    assert one.wait(0.01) == []
    Path(share.view, "loras/a").read_bytes()
    assert [file.path for file in one.wait(5)] == ["loras/a"]
    copy(share, "loras/a")
    one.update()
    one.wait(0.01)
    os.utime(share.locate_copy(DIGEST), ns=(1, Path(share.path, "loras/a").stat().st_mtime_ns))
    Path(share.view, "loras/a").read_bytes()
    assert one.wait(0.01) == []
    copied = Path(share.locate_copy(DIGEST)).stat()
    assert copied.st_atime_ns > 1, "this is its last use now"
    assert copied.st_mtime_ns == Path(share.path, "loras/a").stat().st_mtime_ns


def test_models_of_ollama_are_files_in_the_view_and_their_blobs_need_no_catalogue(tmp_path: Path) -> None:
    share = make_share(tmp_path, "ollama_models")
    write_model(Path(share.path), "painter:1b", CONTENT)
    one = follower.Follower(share)
    one.update()
    manifest = "manifests/registry.ollama.ai/library/painter/1b"
    assert Path(share.view, manifest).read_bytes() == Path(share.path, manifest).read_bytes()
    assert not Path(share.view, manifest).is_symlink()
    assert not one.update()
    copy(share, f"blobs/sha256-{DIGEST}")
    one.update()
    assert view.list_links(share.view)[f"blobs/sha256-{DIGEST}"] == share.locate_copy(DIGEST)
    write_model(Path(share.path), "painter:1b", b"other weights")
    assert one.update()
    assert Path(share.view, manifest).read_bytes() == Path(share.path, manifest).read_bytes()
    Path(share.path, manifest).unlink()
    one.update()
    assert not Path(share.view, manifest).exists()


@pytest.mark.parametrize("problem", ["missing", "another", "unmounted"])
def test_share_that_is_not_the_right_one_changes_nothing(tmp_path: Path, problem: str) -> None:
    share = make_share(tmp_path)
    one = follower.Follower(share)
    one.update()
    before = view.list_links(share.view)
    marker = Path(share.path, ".noslop-share")
    if problem == "another":
        marker.write_text(json.dumps({"studio_id": "there", "share": "comfyui_models"}))
    else:
        marker.unlink()
    if problem == "unmounted":
        Path(share.path).rename(tmp_path / "gone")
        Path(share.path).mkdir()
    with pytest.raises((access.ShareError, OSError)):
        one.update()
    assert view.list_links(share.view) == before


def test_partial_copies_of_a_run_before_are_removed(tmp_path: Path) -> None:
    share = make_share(tmp_path)
    Path(share.parts).mkdir()
    Path(share.parts, DIGEST).write_text("half")
    follower.Follower(share)
    assert os.listdir(share.parts) == []


def test_view_is_there_when_it_is_whole(tmp_path: Path) -> None:
    share = make_share(tmp_path)
    Path(share.path, ".noslop-share").unlink()
    with pytest.raises(FileNotFoundError):
        follower.build(share)
    assert not Path(share.view).exists()
    Path(share.path, ".noslop-share").write_text(json.dumps({"studio_id": "here", "share": share.name}))
    follower.build(share)
    assert sorted(view.list_links(share.view)) == ["loras/a", "loras/unlisted"]
