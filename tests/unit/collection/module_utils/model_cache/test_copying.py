# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a copy has its name when it is whole and right, and not before."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.model_cache import copying
from ansible_collections.noslop.studio.plugins.module_utils.model_cache.layout import CachedShare

from tests.backend.mounts import small

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def make_share(root: Path, content: bytes) -> tuple[CachedShare, os.stat_result]:
    (root / "share").mkdir()
    (root / "cache").mkdir(exist_ok=True)
    (root / "share/model").write_bytes(content)
    share = CachedShare("comfyui_models", str(root / "share"), str(root / "cache"), "studio")
    return share, (root / "share/model").stat()


def list_files(share: CachedShare) -> list[str]:
    return sorted(str(path.relative_to(share.directory)) for path in Path(share.directory).rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [0, 1, 9_000_001])
def test_copy_has_the_content_and_the_time_of_its_original(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    share, status = make_share(tmp_path, content)
    digest = hashlib.sha256(content).hexdigest()
    copying.copy(share, "model", digest, size, status.st_mtime_ns)
    copy = Path(share.locate_copy(digest))
    assert copy.read_bytes() == content
    assert (copy.stat().st_mtime_ns, copy.stat().st_mode & 0o777) == (status.st_mtime_ns, 0o444)
    assert list_files(share) == [f"files/{digest}"]


def test_content_that_the_catalogue_does_not_know_is_not_copied(tmp_path: Path) -> None:
    share, status = make_share(tmp_path, b"something else")
    with pytest.raises(copying.CopyError, match=r"has the SHA-256 .* on the share, and should have abc") as raised:
        copying.copy(share, "model", "abc", status.st_size, status.st_mtime_ns)
    assert raised.value.is_lasting
    assert list_files(share) == []


@pytest.mark.parametrize("change", [{"size": 3}, {"modified_ns": 1}])
def test_file_that_changed_since_it_was_listed_is_not_copied(tmp_path: Path, change: dict[str, int]) -> None:
    share, status = make_share(tmp_path, b"content")
    listed = {"size": status.st_size, "modified_ns": status.st_mtime_ns, **change}
    with pytest.raises(copying.CopyError, match="changed meanwhile"):
        copying.copy(share, "model", hashlib.sha256(b"content").hexdigest(), **listed)
    assert list_files(share) == []


@pytest.mark.parametrize("kind", ["missing", "link", "pipe"])
def test_what_is_no_file_is_not_copied(tmp_path: Path, kind: str) -> None:
    share, status = make_share(tmp_path, b"content")
    model = tmp_path / "share/model"
    model.unlink()
    if kind == "link":
        model.symlink_to("/etc/passwd")
    if kind == "pipe":
        os.mkfifo(model)
    with pytest.raises(copying.CopyError):
        copying.copy(share, "model", "abc", status.st_size, status.st_mtime_ns)
    assert list_files(share) == []


@root_only
def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    with small(tmp_path / "cache", blocks=500):
        share, status = make_share(tmp_path, content)
        with pytest.raises(copying.CopyError, match="No space left on device") as raised:
            copying.copy(share, "model", hashlib.sha256(content).hexdigest(), status.st_size, status.st_mtime_ns)
        assert not raised.value.is_lasting
        assert list_files(share) == []
