# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The mirror: the same bytes every time, whole or not at all, and readable by git, pip and zstd."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import STANDINS, Daemon, ok, run

BUILD = STANDINS / "build.py"


def release(mirror: Path, manifest: dict[str, Any]) -> Path:
    return mirror / "ollama" / f"v{manifest['ollama_version']}"


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_two_builds_have_the_same_values_and_bytes(mirror: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "other"
    ok(run(sys.executable, BUILD, other, env={**os.environ, "TZ": "Asia/Tokyo", "GIT_AUTHOR_NAME": "someone"}))
    assert (other / "manifest.json").read_text() == (mirror / "manifest.json").read_text()
    for part in ("ollama", "whl", "pypi"):
        assert contents(other / part) == contents(mirror / part)


def test_a_second_build_leaves_the_tree_alone(mirror: Path) -> None:
    before = {path: path.stat().st_ino for path in mirror.rglob("*")}
    assert "nothing to do" in ok(run(sys.executable, BUILD, mirror))
    assert {path: path.stat().st_ino for path in mirror.rglob("*")} == before


def test_another_wish_replaces_the_whole_tree(tmp_path: Path) -> None:
    out = tmp_path / "mirror"
    ok(run(sys.executable, BUILD, out))
    ok(run(sys.executable, BUILD, out, "--arch", "arm64"))
    archives = [path.name for path in out.glob("ollama/*/*.zst")]
    assert archives == ["ollama-linux-arm64.tar.zst"]
    assert [path.name for path in tmp_path.iterdir()] == ["mirror"]


def test_a_build_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "mirror"
    ok(run(sys.executable, BUILD, out))
    before = contents(out)
    failed = run(sys.executable, BUILD, out, "--arch", "arm64", env={"PATH": str(tmp_path / "no-git-here")})
    assert failed.returncode == 1
    assert "install git" in failed.stderr
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["mirror"]


def test_a_directory_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    failed = run(sys.executable, BUILD, tmp_path)
    assert failed.returncode == 1
    assert "no mirror of stand-ins" in failed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_the_checksums_are_those_of_the_archives(mirror: Path, manifest: dict[str, Any]) -> None:
    checked = ok(run("sha256sum", "--check", "sha256sum.txt", cwd=release(mirror, manifest)))
    assert checked.count(": OK") == 2
    listed = (release(mirror, manifest) / "sha256sum.txt").read_text()
    assert f"{manifest['ollama_sha256']['amd64']}  ./ollama-linux-amd64.tar.zst" in listed


def test_the_archive_has_the_vendors_layout(mirror: Path, manifest: dict[str, Any]) -> None:
    archive = release(mirror, manifest) / "ollama-linux-amd64.tar.zst"
    ok(run("zstd", "--test", archive))
    names = ok(run("tar", "--zstd", "-tvf", archive))
    assert "-rwxr-xr-x root/root" in names
    assert " bin/ollama\n" in names
    assert " lib/ollama/README\n" in names


def test_a_clone_over_plain_http_is_the_pinned_commit(comfyui_tree: Path, manifest: dict[str, Any]) -> None:
    assert ok(run("git", "rev-parse", "HEAD", cwd=comfyui_tree)).strip() == manifest["comfyui_revision"]
    assert ok(run("git", "status", "--porcelain", cwd=comfyui_tree)) == ""


def test_linked_models_make_a_checkout_dirty(server: Daemon, tmp_path: Path) -> None:
    tree, share = tmp_path / "clone", tmp_path / "share"
    ok(run("git", "clone", "--quiet", f"{server.url}/ComfyUI.git", tree))
    (tree / "models").rename(share)
    (tree / "models").symlink_to(share)
    assert " D models/checkpoints/put_checkpoints_here" in ok(run("git", "status", "--porcelain", cwd=tree))


@pytest.mark.parametrize("build", ["cpu", "cu130", "rocm7.2", "xpu"])
def test_pip_finds_a_torch_for_each_kind_of_gpu(
    server: Daemon, pip_env: dict[str, str], tmp_path: Path, build: str
) -> None:
    index = f"{server.url}/whl/{build}/"
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path)]
    ok(run(*download, "--index-url", index, "torch", "torchvision", "torchaudio", env=pip_env))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name.split("-")[0] for name in names] == ["torch", "torchaudio", "torchvision"]
    assert all(f"+{build}-py3-none-any.whl" in name for name in names)


def test_the_installed_torch_works_and_says_what_it_is(python: Path, manifest: dict[str, Any]) -> None:
    words = "import json, torch, torchvision, torchaudio, importlib.metadata as m; "
    values = "[torch.__version__, torch.cuda.is_available(), m.metadata('torch')['Summary']]"
    version, has_gpu, summary = json.loads(ok(run(python, "-c", f"{words}print(json.dumps({values}))")))
    assert version == manifest["torch_versions"]["torch"] + "+cpu"
    assert has_gpu is False
    assert "stand-in" in summary


def test_the_server_keeps_a_pid_file_while_it_runs(mirror: Path, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    serve = [sys.executable, str(STANDINS / "serve.py"), "--root", str(mirror), "--pid-file", str(pid_file), "--port"]
    with Daemon([*serve, "0"], r"on http://127\.0\.0\.1:(\d+)/") as daemon:
        assert daemon.get("/manifest.json").status == 200
        assert daemon.get("/no/such/file").status == 404
        assert pid_file.read_text() == f"{daemon.process.pid}\n"
        taken = run(*serve, str(daemon.port))
        assert taken.returncode == 1
        assert "Cannot listen on 127.0.0.1" in taken.stderr
        assert pid_file.read_text() == f"{daemon.process.pid}\n"
    assert not pid_file.exists()
