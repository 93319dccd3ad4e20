# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs: retention that stops and asks, counters, the cache."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from noslop_backend.core.database import clock
from noslop_backend.core.errors import ConfirmationNeededError, ShareUnavailableError
from noslop_backend.maintenance import retention
from noslop_backend.models import FileModel, JobModel, ProjectModel
from noslop_backend.schemas import ProjectUpdate
from noslop_backend.services import ProjectStorage
from noslop_backend.share.layout import FileKind
from sqlalchemy import update
from sqlmodel import col

from tests.backend.studio import Studio, write_marker


def fill(storage: ProjectStorage, project: str, old: int, new: int) -> None:
    """So many intermediates of a hundred bytes that are ten days old, and so many that are new."""
    storage.update_project_metadata(project, ProjectUpdate(intermediate_days=5, trash_days=5))
    for number in range(old + new):
        file = storage.save_intermediate(project, FileKind.FRAME, f"f{number}", b"x" * 100)
        if number < old:
            with storage.database.write() as session:
                past = clock(session) - timedelta(days=10)
                session.exec(update(FileModel).where(col(FileModel.id) == file.id).values(created_at=past))


def test_retention_removes_what_is_old_and_no_more(studio: Studio, project: str) -> None:
    fill(studio.storage, project, 2, 8)
    dry = retention.apply_retention(studio.storage, dry_run=True)
    assert (dry.freed_bytes, dry.asks) == (200, {})
    report = retention.apply_retention(studio.storage)
    assert (report.intermediates_count, report.freed_bytes, report.asks, report.failed) == (2, 200, {}, {})
    assert studio.storage.get_storage_stats(project).intermediate_count == 8
    studio.check(project)


def test_retention_that_would_remove_much_stops_and_asks(studio: Studio, project: str) -> None:
    fill(studio.storage, project, 3, 7)
    report = retention.apply_retention(studio.storage)
    assert (report.intermediates_count, list(report.asks)) == (0, [project])
    assert studio.storage.get_storage_stats(project).intermediate_count == 10
    assert studio.storage.get_store_stats().questions == [f"{project}: {report.asks[project]}"]
    assert retention.apply_retention(studio.storage, confirmed=True).intermediates_count == 3
    assert studio.storage.get_store_stats().questions == []
    studio.check(project)


@pytest.mark.parametrize("gap", [timedelta(days=1, minutes=1), timedelta(days=400), timedelta(minutes=-5)])
def test_a_clock_that_jumped_stops_retention(studio: Studio, project: str, gap: timedelta) -> None:
    storage = studio.storage
    fill(storage, project, 1, 9)
    retention.apply_retention(storage)
    fill(storage, project, 1, 0)
    with storage.database.write() as session:
        session.exec(update(JobModel).values(last_run_at=clock(session) - gap))
    with pytest.raises(ConfirmationNeededError):
        retention.apply_retention(storage, dry_run=True)
    assert storage.get_store_stats().questions == []
    for _ in range(2):
        with pytest.raises(ConfirmationNeededError) as asked:
            retention.apply_retention(storage)
        assert storage.get_store_stats().questions == [asked.value.message]
    assert "run: noslop-backend retention --confirmed" in asked.value.message
    assert storage.get_storage_stats(project).intermediate_count == 10
    assert retention.apply_retention(storage, confirmed=True).intermediates_count == 1
    assert storage.get_store_stats().questions == []
    assert retention.apply_retention(storage).intermediates_count == 0


def test_who_believes_the_clock_has_not_said_that_much_may_go(studio: Studio, project: str) -> None:
    storage = studio.storage
    retention.apply_retention(storage)
    fill(storage, project, 3, 7)
    with storage.database.write() as session:
        session.exec(update(JobModel).values(last_run_at=clock(session) - timedelta(days=3)))
    with pytest.raises(ConfirmationNeededError):
        retention.apply_retention(storage)
    assert list(retention.apply_retention(storage, confirmed=True, dry_run=True).asks) == [project]
    report = retention.apply_retention(storage, confirmed=True)
    assert (report.intermediates_count, list(report.asks)) == (0, [project])
    assert storage.get_store_stats().questions == [f"{project}: {report.asks[project]}"]
    assert retention.apply_retention(storage, confirmed=True).intermediates_count == 3
    assert storage.get_store_stats().questions == []
    studio.check(project)


def test_a_clock_that_is_set_right_is_an_answer(studio: Studio, project: str) -> None:
    storage = studio.storage
    retention.apply_retention(storage)
    with storage.database.write() as session:
        ran = clock(session)
        session.exec(update(JobModel).values(last_run_at=ran + timedelta(days=2)))
    with pytest.raises(ConfirmationNeededError):
        retention.apply_retention(storage)
    with storage.database.write() as session:
        session.exec(update(JobModel).values(last_run_at=ran))
    retention.apply_retention(storage)
    assert storage.get_store_stats().questions == []


def test_retention_empties_the_trash_after_its_days(studio: Studio, project: str) -> None:
    storage = studio.storage
    fill(storage, project, 0, 10)
    files = storage.get_project_files(project).items
    storage.trash(project, [files[0].id, files[1].id])
    with storage.database.write() as session:
        past = clock(session) - timedelta(days=6)
        session.exec(update(FileModel).where(col(FileModel.id) == files[0].id).values(trashed_at=past))
    report = retention.apply_retention(storage)
    assert (report.purged_count, report.freed_bytes) == (1, 100)
    studio.check(project)


def test_counters_are_repaired_and_the_drift_is_told(studio: Studio, project: str) -> None:
    fill(studio.storage, project, 0, 2)
    assert retention.repair_counters(studio.storage) == []
    with studio.storage.database.write() as session:
        session.exec(update(ProjectModel).values(used_bytes=0))
    drift = retention.repair_counters(studio.storage)
    assert drift[0] == f"{project}: used_bytes: 0 -> 200"
    studio.check(project)


def test_the_media_cache_is_trimmed_to_its_size(studio: Studio) -> None:
    storage = studio.another(media_cache_bytes=250)
    cache = storage.settings.media_cache_dir
    with pytest.raises(ShareUnavailableError):
        retention.apply_retention(storage)
    (cache / "a").mkdir(parents=True)
    write_marker(cache, share="media_cache")
    for number in range(4):
        path = cache / "a" / f"{number}.jpg"
        path.write_bytes(b"x" * 100)
        os.utime(path, (number, number))
    outside = studio.root.parent / "outside"
    outside.write_bytes(b"x" * 1000)
    (cache / "link").symlink_to(outside)
    assert retention.apply_retention(storage, dry_run=True).cache_freed_bytes == 200
    assert retention.apply_retention(storage).cache_freed_bytes == 200
    assert sorted(path.name for path in (cache / "a").iterdir()) == ["2.jpg", "3.jpg"]
    assert outside.exists()
    assert (cache / ".noslop-share").exists()
