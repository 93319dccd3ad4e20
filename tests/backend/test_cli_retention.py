# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command of retention, as its timer calls it: what it asks of a person is an error."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from noslop_backend.cli import main
from noslop_backend.core.database import clock
from noslop_backend.models import FileModel
from noslop_backend.schemas import ProjectUpdate
from noslop_backend.share.layout import FileKind
from sqlalchemy import update
from sqlmodel import col

from tests.backend.studio import STUDIO, Studio


@pytest.fixture
def env_file(studio: Studio, tmp_path: Path) -> Path:
    path = tmp_path / "backend.env"
    path.write_text(f"NOSLOP_STUDIO_ID={STUDIO}\nNOSLOP_DATABASE_URL={studio.url}\nPROJECT_STORAGE_DIR={studio.root}\n")
    return path


def retention(env_file: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = main(["--env-file", str(env_file), "--account", "root", "retention", "--json", *words])
    return code, json.loads(capsys.readouterr().out)


def waiting(env_file: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the command `stats` says that waits for a person."""
    assert main(["--env-file", str(env_file), "--account", "root", "stats"]) == 0
    return capsys.readouterr().out.partition("WAITING FOR A PERSON\n")[2].splitlines()


def test_nothing_to_remove_is_well(studio: Studio, env_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = retention(env_file, capsys)

    assert (code, answer["ok"], answer["report"]["freed_bytes"]) == (0, True, 0)


def test_much_to_remove_ends_with_an_error_until_a_person_confirms(
    studio: Studio, project: str, env_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studio.storage.update_project_metadata(project, ProjectUpdate(intermediate_days=5))
    file = studio.storage.save_intermediate(project, FileKind.FRAME, "f", b"x" * 100)
    with studio.storage.database.write() as session:
        past = clock(session) - timedelta(days=10)
        session.exec(update(FileModel).where(col(FileModel.id) == file.id).values(created_at=past))

    code, asked = retention(env_file, capsys)
    assert code == 1
    assert "retention --confirmed" in asked["report"]["asks"][project]
    assert studio.storage.get_storage_stats(project).intermediate_count == 1
    assert waiting(env_file, capsys) == [f"{project}: {asked['report']['asks'][project]}"]

    code, done = retention(env_file, capsys, "--confirmed")
    assert (code, done["report"]["intermediates_count"], done["report"]["freed_bytes"]) == (0, 1, 100)
    assert studio.storage.get_storage_stats(project).intermediate_count == 0
    assert waiting(env_file, capsys) == []
