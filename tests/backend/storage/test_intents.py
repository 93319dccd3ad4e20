# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Intents: leases that run out, whoever comes next, shares that are away, disks that are full."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from noslop_backend.core.database import clock
from noslop_backend.core.errors import (
    BackendError,
    InProgressError,
    LeaseLostError,
    QuotaExceededError,
    ShareUnavailableError,
)
from noslop_backend.maintenance import retention
from noslop_backend.models import IntentModel, JobModel
from noslop_backend.schemas import ProjectCreate, ProjectUpdate, RecoveryReport
from noslop_backend.services import ProjectStorage
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind
from sqlalchemy import Connection, event, update

from tests.backend.studio import STUDIO, Studio, png, write_marker


def test_a_stalled_write_is_undone_and_cannot_publish_any_more(studio: Studio, project: str) -> None:
    slow = studio.another(lease_s=0)
    upload = slow.begin_generated_media(project, "m", length=len(png()), key="k")
    upload.write(png()[:20])
    report = studio.storage.recover()
    assert (len(report.released), report.finished, report.failed) == (1, [], {})
    with pytest.raises(LeaseLostError):
        upload.write(png()[20:])
    upload.abort()
    studio.check(project)
    assert studio.storage.save_generated_media(project, "m", iter([png()]), length=len(png()), key="k")
    studio.check(project)


def test_a_write_that_stalls_before_it_publishes_finds_its_file_gone(studio: Studio, project: str) -> None:
    """All bytes are there and the lease is lost at the last moment: a link whose source is gone fails."""
    slow = studio.another(lease_s=0)
    with slow.begin_generated_media(project, "m") as upload:
        upload.write(png())
        assert studio.storage.recover().released
        with pytest.raises(LeaseLostError):
            upload.finish()
    studio.check(project)
    assert studio.tree(project).keys() == {layout.METADATA}


def stall(service: ProjectStorage, turn: int, meanwhile: Callable[[], object]) -> None:
    """Let something happen just before a service's so-manieth transaction that writes."""
    turns = iter(range(1, 1000))

    def pause(connection: Connection) -> None:
        if connection.get_execution_options().get("noslop_writes") and next(turns) == turn:
            meanwhile()

    event.listen(service.database.engine, "engine_connect", pause)


def test_who_stalls_before_the_last_transaction_answers_with_what_another_finished(
    studio: Studio, project: str
) -> None:
    slow = studio.another(lease_s=0)
    slow.start()
    reports: list[RecoveryReport] = []
    stall(slow, 4, lambda: reports.append(studio.storage.recover()))
    saved = slow.save_generated_media(project, "m", png(), key="k")
    assert len(reports[0].finished) == 1
    assert [file.id for file in studio.storage.get_project_files(project).items] == [saved.id]
    assert studio.storage.save_generated_media(project, "m", png(), key="k") == saved
    studio.check(project)


def test_who_stalls_before_the_links_publishes_nothing(studio: Studio, project: str) -> None:
    slow = studio.another(lease_s=0)
    slow.start()
    stall(slow, 2, studio.storage.recover)
    with pytest.raises(LeaseLostError):
        slow.save_workflow(project, "w", {}, key="k")
    assert studio.tree(project).keys() == {layout.METADATA}
    # The number is a gap, the key is free.
    assert studio.storage.save_workflow(project, "w", {}, key="k").version == 2
    studio.check(project)


@pytest.mark.parametrize("op", ["trash", "restore", "purge", "cleanup", "update", "create", "promote", "adopt"])
def test_whatever_another_finished_is_answered_with_that(studio: Studio, project: str, op: str) -> None:
    slow = studio.another(lease_s=0)
    slow.start()
    media = slow.save_generated_media(project, "m", png())
    slow.save_intermediate(project, FileKind.MASK, "i", b"x")
    if op in {"restore", "purge"}:
        slow.trash(project, [media.id])
    ticket = slow.reserve_adoption(project, None, "t", 1000) if op == "adopt" else None
    if ticket is not None:
        Path(ticket.staging_path).write_bytes(png(2))
    calls: dict[str, Callable[[], object]] = {
        "trash": lambda: slow.trash(project, [media.id]).files_count,
        "restore": lambda: slow.restore(project, [media.id]).files_count,
        "purge": lambda: slow.purge(project, [media.id]).files_count,
        "cleanup": lambda: slow.cleanup_intermediate(project).files_count,
        "update": lambda: slow.update_project_metadata(project, ProjectUpdate(name="n")).name,
        "create": lambda: slow.create_project_structure(ProjectCreate(name="n")).name,
        "promote": lambda: slow.promote_to_final(project, media.id, name="n").name,
        "adopt": lambda: slow.adopt(project, ticket.ticket_id if ticket else "").name,
    }
    # A lease of no length is renewed at every step: for each file that moves, and once for everything else but links.
    last = {"trash": 4, "restore": 4, "adopt": 4}.get(op, 3)
    reports: list[RecoveryReport] = []
    stall(slow, last, lambda: reports.append(studio.storage.recover()))
    assert calls[op]() in {1, "n", "t"}
    assert (len(reports[0].finished), reports[0].failed) == (1, {})
    studio.check(project)


def test_a_lease_is_renewed_while_bytes_flow(studio: Studio, project: str) -> None:
    storage = studio.another(lease_s=60)
    with storage.begin_generated_media(project, "m") as upload:
        with storage.database.write() as session:
            session.exec(update(IntentModel).values(lease_expires_at=clock(session) - timedelta(seconds=1)))
        # A third of a lease has gone by as far as the writer can tell.
        upload._handle.renew_at_s = 0
        upload.write(png())
        assert studio.storage.recover().released == []
        upload.finish()
    studio.check(project)


def test_a_key_whose_owner_died_is_recovered_first(studio: Studio, project: str) -> None:
    dead = studio.another(lease_s=0)
    dead.begin_generated_media(project, "m", key="k").write(png())
    saved = studio.storage.save_generated_media(project, "m", png(), key="k2")
    studio.another().begin_generated_media(project, "m", key="live").write(png())
    with pytest.raises(InProgressError):
        studio.storage.begin_generated_media(project, "m", key="live")
    again = studio.another(lease_s=0).begin_generated_media(project, "m", key="k")
    again.write(png())
    assert again.finish().id != saved.id
    with studio.storage.database.write() as session:
        session.exec(update(IntentModel).values(lease_expires_at=clock(session)))
    studio.storage.recover()
    studio.check(project)


def test_tickets_run_out(studio: Studio, project: str) -> None:
    storage = studio.another(adopt_lease_s=0)
    ticket = storage.reserve_adoption(project, None, "m", 100)
    Path(ticket.staging_path).write_bytes(png())
    assert studio.storage.recover().released == [ticket.ticket_id]
    assert not Path(ticket.staging_path).exists()
    with pytest.raises(LeaseLostError):
        storage.adopt(project, ticket.ticket_id)
    studio.check(project)


def test_what_no_open_intent_knows_is_swept(studio: Studio, project: str) -> None:
    staging = studio.root / project / layout.STAGING
    (staging / f"{'0' * 32}.0.part").write_bytes(b"x")
    (staging / ".nfs000000000001").write_bytes(b"x")
    with studio.storage.begin_generated_media(project, "m") as upload:
        upload.write(png())
        report = studio.storage.recover()
        assert report.swept == [f"{project}/.staging/{'0' * 32}.0.part"]
        upload.finish()
    (staging / ".nfs000000000001").unlink()
    studio.check(project)


def test_answers_to_keys_are_forgotten_after_their_days(studio: Studio, project: str) -> None:
    storage = studio.storage
    one = storage.save_generated_media(project, "m", png(), key="k")
    retention.expire_intents(storage)
    assert storage.save_generated_media(project, "m", png(), key="k") == one
    with storage.database.write() as session:
        past = clock(session) - timedelta(days=8)
        session.exec(update(IntentModel).values(finished_at=past))
        # The clock has run evenly all the time.
        session.exec(update(JobModel).values(state={"even_since": past.isoformat()}))
    retention.expire_intents(storage)
    assert storage.save_generated_media(project, "m", png(), key="k") != one
    studio.check(project)


def everything(storage: ProjectStorage, project: str) -> list[str]:
    """Try every write; gives the names of errors that came of it."""
    file = storage.get_project_files(project).items[0].id
    calls: list[Callable[[], object]] = [
        lambda: storage.create_project_structure(ProjectCreate(name="n")),
        lambda: storage.update_project_metadata(project, ProjectUpdate(name="n")),
        lambda: storage.save_workflow(project, "w", {}),
        lambda: storage.save_prompt(project, "p", "x"),
        lambda: storage.save_generated_media(project, "m", png()),
        lambda: storage.save_intermediate(project, FileKind.MASK, "m", b"x"),
        lambda: storage.save_metadata(project, file, {}),
        lambda: storage.promote_to_final(project, file),
        lambda: storage.reserve_adoption(project, None, "m", 1),
        lambda: storage.trash(project, [file]),
        lambda: storage.cleanup_intermediate(project),
        lambda: storage.purge(project),
        storage.recover,
        lambda: storage.trash_project(project),
        lambda: retention.apply_retention(storage),
    ]
    errors = []
    for call in calls:
        try:
            call()
        except BackendError as error:
            errors.append(type(error).__name__)
    return errors


@pytest.mark.parametrize(
    "marker", ["none", "other share_id", "other studio", "other share", "nonsense", "link", "away"]
)
def test_another_share_or_none_takes_no_write_and_no_removal(studio: Studio, project: str, marker: str) -> None:
    storage = studio.storage
    storage.save_generated_media(project, "m", png())
    storage.save_intermediate(project, FileKind.MASK, "m", b"x")
    before, rows = studio.tree(project), {row.id: row.state for row in studio.rows(project)}
    path = studio.root / ".noslop-share"
    right = path.read_text()
    path.unlink()
    if marker == "other share_id":
        write_marker(studio.root)
    elif marker == "other studio":
        write_marker(studio.root, studio_id="other", share_id=studio.share_id)
    elif marker == "other share":
        write_marker(studio.root, share="media_cache", share_id=studio.share_id)
    elif marker == "nonsense":
        path.write_text("[]")
    elif marker == "link":
        (studio.root.parent / "copy").write_text(right)
        path.symlink_to(studio.root.parent / "copy")
    elif marker == "away":
        studio.root.rename(studio.root.parent / "away")
    assert set(everything(storage, project)) == {"ShareUnavailableError"}
    assert len(everything(storage, project)) == 15
    with pytest.raises(ShareUnavailableError):
        studio.another().start()
    # Questions need no share.
    assert storage.get_storage_stats(project).media_count == 1
    if marker == "away":
        (studio.root.parent / "away").rename(studio.root)
    path.unlink(missing_ok=True)
    path.write_text(right)
    assert studio.tree(project) == before
    assert {row.id: row.state for row in studio.rows(project)} == rows
    studio.check(project)


def test_the_first_start_records_the_share(studio: Studio) -> None:
    assert studio.storage.start() == studio.share_id
    write_marker(studio.root, STUDIO)
    with pytest.raises(ShareUnavailableError, match="another share"):
        studio.another().start()


def test_threads_never_reserve_more_than_there_is(studio: Studio, project: str) -> None:
    storage = studio.storage
    storage.update_project_metadata(project, ProjectUpdate(quota_bytes=1000))
    results: list[str] = []

    def save(number: int) -> None:
        try:
            studio.storage.save_intermediate(project, FileKind.FRAME, f"f{number}", b"x" * 150)
        except QuotaExceededError as error:
            results.append(error.scope)
        else:
            results.append("saved")

    threads = [threading.Thread(target=save, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count("saved") == 6
    assert results.count("project") == 10
    assert storage.get_project(project).used_bytes == 900
    studio.check(project)


def test_one_key_from_many_threads_makes_one_version(studio: Studio, project: str) -> None:
    results: list[object] = []

    def save() -> None:
        while True:
            try:
                results.append(studio.storage.save_workflow(project, "w", {"a": 1}, key="k").version)
            except InProgressError:
                continue
            return

    threads = [threading.Thread(target=save) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [1] * 6
    studio.check(project)


def test_intents_that_are_open_keep_a_project_from_the_trash(studio: Studio, project: str) -> None:
    with studio.storage.begin_generated_media(project, "m"), pytest.raises(InProgressError):
        studio.storage.trash_project(project)
    studio.another(lease_s=0).begin_generated_media(project, "m").write(png())
    studio.storage.trash_project(project)
    studio.storage.restore_project(project)
    studio.check(project)
