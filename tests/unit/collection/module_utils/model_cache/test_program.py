# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the program that the role model_cache installs: what it prepares, and what it removes."""

from __future__ import annotations

import getpass
import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.model_cache import program

from tests.backend.mounts import mounted

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounting, and changing owners, needs root")


def write_settings(root: Path, directory: str = "", owner: str = "") -> str:
    """Write two shares and the settings of their cache. Return the path of these."""
    for path in (root.parent.parent, root.parent, root):
        path.chmod(0o755)
    shares: list[dict[str, Any]] = []
    for name in program.SHARES:
        share = root / name
        share.mkdir(exist_ok=True)
        (share / "model").write_text("content")
        (share / ".noslop-share").write_text(json.dumps({"studio_id": "here", "share": name}))
        shares.append({"name": name, "path": str(share), "owner": owner or getpass.getuser()})
    settings = {
        "directory": directory or str(root / "cache"),
        "limit_bytes": 10**6,
        "shares": shares,
        "files": [{"path": "model", "sha256": "ab" * 32}],
        "studio_id": "here",
        "state_directory": str(root / "state"),
        "run_directory": str(root),
    }
    (root / "settings.json").write_text(json.dumps(settings))
    return str(root / "settings.json")


def test_views_are_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = write_settings(tmp_path)
    assert program.main(["prepare", settings]) == 0
    assert os.readlink(tmp_path / "cache/comfyui_models/view/model") == str(tmp_path / "comfyui_models/model")
    assert "made" in capsys.readouterr().out
    assert program.main(["prepare", settings]) == 0
    assert capsys.readouterr().out == ""


@root_only
def test_other_accounts_do_not_enter_and_the_owner_of_the_share_owns_its_part(tmp_path: Path) -> None:
    settings = write_settings(tmp_path, owner="daemon")
    assert program.main(["prepare", settings]) == 0
    status = (tmp_path / "cache/comfyui_models").stat()
    assert (status.st_uid, status.st_mode & 0o777) == (pwd.getpwnam("daemon").pw_uid, 0o750)
    assert (tmp_path / "cache/comfyui_models/view").stat().st_uid == status.st_uid
    assert (tmp_path / "cache").stat().st_uid == 0


@root_only
def test_directory_that_others_can_change_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cache").mkdir()
    os.chown(tmp_path / "cache", pwd.getpwnam("daemon").pw_uid, -1)
    assert program.main(["prepare", write_settings(tmp_path)]) == 1
    assert "can be changed by other accounts than root" in capsys.readouterr().err
    assert list((tmp_path / "cache").iterdir()) == []


@root_only
def test_directory_in_memory_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "volatile").mkdir()
    with mounted("tmpfs", tmp_path / "volatile", "size=1m"):
        assert program.main(["prepare", write_settings(tmp_path, str(tmp_path / "volatile/cache"))]) == 1
        assert "lies on tmpfs, and copies belong on a disk of this host" in capsys.readouterr().err


def test_share_that_is_away_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = write_settings(tmp_path)
    (tmp_path / "ollama_models/.noslop-share").unlink()
    assert program.main(["prepare", settings]) == 1
    assert f"{tmp_path}/ollama_models cannot be listed: No such file" in capsys.readouterr().err
    assert not (tmp_path / "cache/ollama_models/view").exists(), "no program reads half of it"


def test_clean_removes_the_caches_of_before_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    program.main(["prepare", write_settings(tmp_path, old)])
    (tmp_path / "old/notes").write_text("of a person")
    settings = write_settings(tmp_path, new)
    program.main(["prepare", settings])
    capsys.readouterr()
    assert program.main(["clean", settings, new]) == 0
    assert capsys.readouterr().out == f"removed {old}/comfyui_models\nremoved {old}/ollama_models\n"
    assert os.listdir(old) == ["notes"]
    assert sorted(os.listdir(new)) == ["comfyui_models", "ollama_models"]
    assert program.main(["clean", settings, new]) == 0
    assert capsys.readouterr().out == ""
    assert program.main(["clean", settings, ""]) == 0
    assert not os.path.exists(new)
    assert (tmp_path / "comfyui_models/model").read_text() == "content"


def test_clean_removes_the_part_of_a_service_that_the_host_runs_no_more(tmp_path: Path) -> None:
    path = write_settings(tmp_path)
    program.main(["prepare", path])
    settings = json.loads(Path(path).read_text())
    settings["shares"] = settings["shares"][:1]
    Path(path).write_text(json.dumps(settings))
    program.main(["clean", path, settings["directory"]])
    assert os.listdir(settings["directory"]) == ["comfyui_models"]
