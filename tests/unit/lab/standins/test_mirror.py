# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the mirror: the same bytes every time, complete or absent, and readable by git, pip and zstd."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
from ansible_collections.noslop.studio.plugins.plugin_utils import releases

from lab.studio.pins import pinned_variables
from tests.support.daemons import STANDINS, Daemon, check_success, run

BUILD = STANDINS / "build.py"


def release_dir(mirror: Path, manifest: dict[str, Any]) -> Path:
    return mirror / "ollama" / f"v{manifest['ollama_version']}"


def read_files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_two_builds_have_the_same_values_and_bytes(mirror: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "other"
    check_success(
        run(sys.executable, BUILD, other, env={**os.environ, "TZ": "Asia/Tokyo", "GIT_AUTHOR_NAME": "someone"})
    )
    assert (other / "manifest.json").read_text() == (mirror / "manifest.json").read_text()
    for part in ("ollama", "whl", "pypi"):
        assert read_files(other / part) == read_files(mirror / part)


def test_second_build_changes_nothing(mirror: Path) -> None:
    before = {path: path.stat().st_ino for path in mirror.rglob("*")}
    assert "nothing to do" in check_success(run(sys.executable, BUILD, mirror))
    assert {path: path.stat().st_ino for path in mirror.rglob("*")} == before


@pytest.mark.long
def test_build_for_another_architecture_replaces_the_whole_tree(tmp_path: Path) -> None:
    out = tmp_path / "mirror"
    check_success(run(sys.executable, BUILD, out))
    check_success(run(sys.executable, BUILD, out, "--arch", "arm64"))
    archives = {path.name for path in out.glob("ollama/*/*.zst")}
    assert archives == {"ollama-linux-arm64.tar.zst"}
    assert [path.name for path in tmp_path.iterdir()] == ["mirror"]


def test_failed_build_keeps_the_tree(tmp_path: Path) -> None:
    out = tmp_path / "mirror"
    check_success(run(sys.executable, BUILD, out))
    before = read_files(out)
    failed = run(sys.executable, BUILD, out, "--arch", "arm64", env={"PATH": str(tmp_path / "no-git-here")})
    assert failed.returncode == 1
    assert "install git" in failed.stderr
    assert read_files(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["mirror"]


def test_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    failed = run(sys.executable, BUILD, tmp_path)
    assert failed.returncode == 1
    assert "no mirror of stand-ins" in failed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_checksums_match_the_archives(mirror: Path, manifest: dict[str, Any]) -> None:
    checked = check_success(run("sha256sum", "--check", "sha256sum.txt", cwd=release_dir(mirror, manifest)))
    assert checked.count(": OK") == 2
    listed = (release_dir(mirror, manifest) / "sha256sum.txt").read_text()
    assert f"{manifest['ollama_sha256']['amd64']}  ./ollama-linux-amd64.tar.zst" in listed


def test_archive_has_the_layout_of_the_vendor(mirror: Path, manifest: dict[str, Any]) -> None:
    archive = release_dir(mirror, manifest) / "ollama-linux-amd64.tar.zst"
    check_success(run("zstd", "--test", archive))
    names = check_success(run("tar", "--zstd", "-tvf", archive))
    assert "-rwxr-xr-x root/root" in names
    assert " bin/ollama\n" in names
    assert " lib/ollama/README\n" in names
    assert "/\n" not in names


def test_clone_over_plain_http_is_the_pinned_commit(comfyui_tree: Path, manifest: dict[str, Any]) -> None:
    assert check_success(run("git", "rev-parse", "HEAD", cwd=comfyui_tree)).strip() == manifest["comfyui_revision"]
    assert check_success(run("git", "status", "--porcelain", cwd=comfyui_tree)) == ""


def test_linked_models_make_a_checkout_dirty(server: Daemon, tmp_path: Path) -> None:
    tree, share = tmp_path / "clone", tmp_path / "share"
    check_success(run("git", "clone", "--quiet", f"{server.url}/ComfyUI.git", tree))
    (tree / "models").rename(share)
    (tree / "models").symlink_to(share)
    assert " D models/checkpoints/put_checkpoints_here" in check_success(run("git", "status", "--porcelain", cwd=tree))


@pytest.mark.parametrize("build", ["cpu", "cu130", "rocm7.2", "xpu"])
def test_pip_downloads_torch_for_each_kind_of_gpu(
    server: Daemon, pip_env: dict[str, str], tmp_path: Path, build: str
) -> None:
    index = f"{server.url}/whl/{build}/"
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path)]
    check_success(run(*download, "--index-url", index, "torch", "torchvision", "torchaudio", env=pip_env))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [name.split("-")[0] for name in names] == ["torch", "torchaudio", "torchvision"]
    assert all(f"+{build}-py3-none-any.whl" in name for name in names)


def test_installed_torch_works_and_names_itself(python: Path, manifest: dict[str, Any]) -> None:
    words = "import json, torch, torchvision, torchaudio, importlib.metadata as m; "
    values = "[torch.__version__, torch.cuda.is_available(), m.metadata('torch')['Summary']]"
    version, has_gpu, summary = json.loads(check_success(run(python, "-c", f"{words}print(json.dumps({values}))")))
    assert version == manifest["torch_versions"]["torch"] + "+cpu"
    assert has_gpu is False
    assert "stand-in" in summary


def test_server_keeps_a_pid_file_while_it_runs(mirror: Path, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    serve = [sys.executable, str(STANDINS / "serve.py"), "--root", str(mirror), "--pid-file", str(pid_file), "--port"]
    with Daemon([*serve, "0"], r"on http://127\.0\.0\.1:(\d+)/") as daemon:
        assert daemon.get("/manifest.json").status == 200
        assert daemon.get("/no/such/file").status == 404
        assert pid_file.read_text() == f"{daemon.process.pid}\n"
        second = run(*serve, str(daemon.port))
        assert second.returncode == 1
        assert "Cannot listen on 127.0.0.1" in second.stderr
        assert pid_file.read_text() == f"{daemon.process.pid}\n"
    assert not pid_file.exists()


def test_mirror_has_the_releases_that_roles_install_and_pins_every_one(manifest: dict[str, Any]) -> None:
    assert manifest["comfyui_version"] == releases.list_releases("comfyui")[0].version
    assert manifest["ollama_version"] == releases.list_releases("ollama")[0].version
    assert {release.version for release in releases.list_releases("comfyui")} <= set(manifest["comfyui_commits"])
    variables = pinned_variables(manifest, "http://mirror")
    for name, revision, pinned in (
        ("comfyui_commit", {"comfyui_revision": "v0.33.2"}, manifest["comfyui_commits"]["v0.33.2"]),
        ("comfyui_commit", {"comfyui_revision": "v9"}, ""),
        ("ollama_sha256", {"ollama_version": "0.32.15"}, str(manifest["ollama_releases"]["0.32.15"])),
    ):
        assert jinja2.Template(variables[name]).render(revision) == pinned
