# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that keep a studio from losing anything, run as people run them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from noslop_backend.files.beside import BACKUPS
from noslop_backend.models import FileState

from tests.backend.filled import facts, fill
from tests.backend.studio import STUDIO, Studio
from tests.backend.test_cli import Commands, commands

__all__ = ["commands"]


def elsewhere(studio: Studio, url: str, tmp_path: Path) -> Commands:
    """Commands on the same share with another database."""
    path = tmp_path / "elsewhere.env"
    path.write_text(f"NOSLOP_STUDIO_ID={STUDIO}\nNOSLOP_DATABASE_URL={url}\nPROJECT_STORAGE_DIR={studio.root}\n")
    return Commands(path)


def test_a_project_goes_out_and_in_again(commands: Commands, studio: Studio, tmp_path: Path) -> None:
    filled = fill(studio.storage)
    target = tmp_path / "a film.tar"
    out, _ = commands.run("export", filled.project_id, str(target))
    assert str(target) in out
    _, error = commands.run("export", filled.project_id, str(target), code=1)
    assert "there already" in error
    answer = commands.json("import", str(target))["report"]
    copy = answer["project"]["id"]
    assert answer["renamed_count"] > 0
    studio.check(copy)
    target.write_bytes(target.read_bytes()[:5000])
    _, error = commands.run("import", str(target), code=2)
    assert "breaks off" in error
    _, error = commands.run("import", str(tmp_path / "nothing"), code=1)
    assert "cannot be read" in error


def test_a_copy_is_made_listed_and_restored(commands: Commands, studio: Studio, tmp_path: Path) -> None:
    filled = fill(studio.storage)
    made = Path(commands.json("backup", "--keep", "2")["report"]["path"])
    assert made.parent == studio.root / BACKUPS
    assert commands.json("backup", "list")["copies"] == [str(made)]
    _, error = commands.run("backup", "restore", str(made), code=1)
    assert "already" in error
    if studio.url.startswith("sqlite"):
        target = tmp_path / "restored.sqlite3"
        other = elsewhere(studio, f"sqlite:///{target}", tmp_path)
        out, _ = other.run("backup", "restore", str(made))
        assert "reconcile" in out
        assert other.json("stats", filled.project_id) == commands.json("stats", filled.project_id)


def test_a_database_is_rebuilt(
    commands: Commands, studio: Studio, tmp_path: Path, new_database: Callable[[], str]
) -> None:
    filled = fill(studio.storage)
    before = facts(studio, filled.project_id, rebuilt=True)
    _, error = commands.run("rebuild", code=1)
    assert "already" in error
    url = new_database()
    answer = elsewhere(studio, url, tmp_path).json("rebuild", "--verify")["report"]
    assert (answer["projects"], answer["problems_count"]) == (1, 0)
    other = Studio(studio.root, url, studio.share_id)
    assert facts(other, filled.project_id, rebuilt=True) == before
    other.close()


def test_reconcile_says_first_and_acts_when_told(commands: Commands, studio: Studio) -> None:
    filled = fill(studio.storage)
    (studio.root / filled.project_id / filled.workflow.path).unlink()
    near = ("--apart-s", "0")
    out, _ = commands.run("reconcile", *near)
    assert "for the first time" in out
    out, _ = commands.run("reconcile", *near)
    assert "Nothing was changed" in out
    assert commands.json("reconcile", *near, "--apply")["report"]["counts"] == {"missing": 1}
    assert studio.storage.get_file(filled.project_id, filled.workflow.id).state == FileState.MISSING
    for each in (studio.root / filled.project_id).rglob("*.json"):
        each.unlink()
    _, error = commands.run("reconcile", *near, "--apply", code=1)
    assert "--yes-really" in error
    (studio.root / ".noslop-share").unlink()
    commands.run("reconcile", *near, "--apply", "--yes-really", code=4)
