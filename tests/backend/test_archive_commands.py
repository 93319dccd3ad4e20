# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands that keep a studio from losing anything, run as people run them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from noslop_backend.core.enums import FileState
from noslop_backend.share.hidden_dirs import BACKUPS

from tests.backend.filled import facts, fill
from tests.backend.studio import STUDIO, Studio
from tests.backend.test_cli import Commands, commands

__all__ = ["commands"]


def elsewhere(studio: Studio, url: str, tmp_path: Path) -> Commands:
    """Commands on the same share with another database."""
    path = tmp_path / "elsewhere.env"
    path.write_text(
        f"NOSLOP_STUDIO_ID={STUDIO}\nNOSLOP_DATABASE_URL={url}\nPROJECT_STORAGE_DIR={studio.root}\n"
        f"NOSLOP_BACKUP_DIR={tmp_path}/elsewhere\nNOSLOP_BACKUP_KEY_FILE={tmp_path}/elsewhere.key\n"
    )
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
    second = tmp_path / "another disk"
    second.mkdir()
    made = Path(commands.json("backup", "--keep", "2", "--to", str(second))["report"]["path"])
    assert made.parent == studio.root.parent / "backups"
    old = studio.root / BACKUPS
    old.mkdir()
    (old / made.name).write_bytes(made.read_bytes())
    assert commands.json("audit", "--limit", "1")["audit"][0]["operation"] == "backup"
    listed = commands.json("backup", "list")
    assert (listed["copies"], listed["unauthenticated"]) == ([str(made)], [str(old / made.name)])
    _, error = commands.run("backup", "restore", str(made), code=1)
    assert "already" in error
    key = commands.json("backup", "key", "--show")["key"]
    assert key["text"] not in commands.run("backup", "key")[0]
    if studio.url.startswith("sqlite"):
        target = tmp_path / "restored.sqlite3"
        other = elsewhere(studio, f"sqlite:///{target}", tmp_path)
        copy = str(second / made.name)
        assert "--key-file" in other.run("backup", "restore", copy, code=2)[1]
        written_down = tmp_path / "written down"
        written_down.write_text(key["text"] + "\n")
        assert "Name one" in other.run(*_with_key(copy, written_down), "--unauthenticated", code=2)[1]
        out, _ = other.run(*_with_key(copy, written_down))
        assert "reconcile" in out
        assert other.json("stats", filled.project_id) == commands.json("stats", filled.project_id)
        assert other.json("audit", "--limit", "1")["audit"][0]["operation"] == "restore_backup"


def _with_key(file: str, key_file: Path) -> tuple[str, ...]:
    return ("backup", "restore", file, "--key-file", str(key_file))


def test_backups_on_the_share_are_listed_when_it_is_there(commands: Commands, studio: Studio) -> None:
    (studio.root / ".noslop-share").unlink()
    made = commands.json("backup")["report"]["path"]
    out, error = commands.run("backup", "list")
    assert made in out
    assert "not listed" in error


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
    assert [row["operation"] for row in elsewhere(studio, url, tmp_path).json("audit")["audit"]] == ["rebuild"]
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
