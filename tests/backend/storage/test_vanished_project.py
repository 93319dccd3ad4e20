# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A project whose folder another program renamed or removed takes no files; what is missing inside of one is made."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable

import pytest
from noslop_backend.core.errors import ConflictError, QuotaExceededError
from noslop_backend.schemas import FilePublic, ProjectCreate
from noslop_backend.share.layout import FileKind

from tests.backend.studio import Studio, png


def test_files_are_refused_while_the_folder_is_gone(studio: Studio) -> None:
    storage = studio.storage
    project_id = storage.create_project_structure(ProjectCreate(name="Moved")).id
    away = (studio.root / project_id).rename(studio.root / "my own name")
    attempts: dict[str, Callable[[], FilePublic]] = {
        "media": lambda: storage.save_generated_media(project_id, "a.png", png(1)),
        "a stream": lambda: storage.save_generated_media(project_id, "a.png", io.BytesIO(png(1))),
        "an intermediate": lambda: storage.save_intermediate(project_id, FileKind.MASK, "m", b"x"),
        "a workflow": lambda: storage.save_workflow(project_id, "w", b"{}"),
        "a prompt": lambda: storage.save_prompt(project_id, "p", "x"),
    }
    for name, attempt in attempts.items():
        with pytest.raises(ConflictError, match="noslop-backend reconcile"):
            attempt()
        assert not (studio.root / project_id).exists(), name
    assert studio.open_intents() == []
    away.rename(studio.root / project_id)
    for attempt in attempts.values():
        attempt()
    assert storage.get_project(project_id).reserved_bytes == 0


@pytest.mark.parametrize("removed", ["generated/images", "generated", ".staging", "workflows"])
def test_folders_inside_of_a_project_are_made_again(studio: Studio, removed: str) -> None:
    project_id = studio.storage.create_project_structure(ProjectCreate(name="Tidy")).id
    shutil.rmtree(studio.root / project_id / removed)
    studio.storage.save_generated_media(project_id, "a.png", png(1))
    assert studio.storage.save_workflow(project_id, "w", b"{}").version == 1


def test_a_refused_upload_is_told_what_is_used_without_it(studio: Studio) -> None:
    """A stream reserves in steps: what it has reserved so far is part of what it asks for."""
    storage = studio.storage
    storage.settings.reserve_step_bytes = 64
    project_id = storage.create_project_structure(ProjectCreate(name="Small", quota_bytes=100_000)).id
    storage.save_intermediate(project_id, FileKind.MASK, "m", bytes(40_000))
    with pytest.raises(QuotaExceededError) as refused:
        storage.save_intermediate(project_id, FileKind.MASK, "n", iter([bytes(30_000)] * 3))
    details = refused.value
    assert (details.used_bytes, details.free_bytes) == (40_000, 60_000)
    assert details.asked_bytes == 90_000
