"""Test that three version directories stay, with those in use and the previous one, and that others are ignored."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.install import release_dir


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Make six versions, from old to new."""
    for number in range(6):
        version = tmp_path / f"v{number}"
        version.mkdir(mode=0o755)
        release_dir.write_stamp(str(version), {"number": number})
        os.utime(version / release_dir.STAMP, (1000 + number, 1000 + number))
    (tmp_path / "venvs").mkdir()  # no version directory
    return tmp_path


def versions(base: Path) -> list[str]:
    return sorted(path.name for path in base.glob("v?") if not path.is_symlink())


def test_newest_three_versions_stay(base: Path) -> None:
    assert release_dir.prune(str(base), release_dir.STAMP) == ["v2", "v1", "v0"]
    assert versions(base) == ["v3", "v4", "v5"]
    assert (base / "venvs").is_dir()
    assert release_dir.prune(str(base), release_dir.STAMP) == []


def test_current_and_previous_versions_stay(base: Path) -> None:
    assert release_dir.make_current(str(base), "v0")
    assert release_dir.make_current(str(base), "v1")
    assert not release_dir.make_current(str(base), "v1")
    release_dir.prune(str(base), release_dir.STAMP)
    assert versions(base) == ["v0", "v1", "v3", "v4", "v5"]


@pytest.mark.parametrize("kind", ["program", "directory", "words"])
def test_version_of_a_running_process_stays(base: Path, kind: str) -> None:
    cat = shutil.which("cat") or "cat"
    if kind == "program":
        command = [str(shutil.copy(cat, base / "v0"))]
    elif kind == "words":
        (base / "v0" / "main.py").write_text("import sys; print('up', flush=True); sys.stdin.read()")
        command = [sys.executable, str(base / "v0" / "main.py")]
    else:
        command = [cat]
    directory = base / "v0" if kind == "directory" else base
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=directory) as running:
        release_dir.prune(str(base), release_dir.STAMP)
        assert versions(base) == ["v0", "v3", "v4", "v5"]
        running.communicate(b"")
    release_dir.prune(str(base), release_dir.STAMP)
    assert versions(base) == ["v3", "v4", "v5"]


def test_stamp_that_others_may_write_is_ignored(base: Path) -> None:
    assert release_dir.read_stamp(str(base / "v1")) == {"number": 1}
    (base / "v1").chmod(0o775)
    assert release_dir.read_stamp(str(base / "v1")) is None
    (base / "v2" / release_dir.STAMP).unlink()
    (base / "v2" / release_dir.STAMP).symlink_to(base / "v3" / release_dir.STAMP)
    assert release_dir.read_stamp(str(base / "v2")) is None
    assert release_dir.read_stamp(str(base / "none")) is None
