# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The history of changes: a number never becomes visible behind a higher one, and comes once."""

from __future__ import annotations

import threading
from datetime import timedelta

from noslop_backend.core.database import Database, clock
from noslop_backend.journal import audit
from noslop_backend.maintenance import generation
from noslop_backend.maintenance.retention import apply_retention
from noslop_backend.models import AuditModel
from noslop_backend.repositories import JobRepository
from noslop_backend.schemas import ProjectCreate
from noslop_backend.services import ProjectStorage
from noslop_backend.services.events import Events
from sqlalchemy import text, update

from tests.backend.postgresql import Cluster
from tests.backend.studio import Studio


def write(database: Database, origin: str) -> None:
    """One change."""
    with database.write() as session:
        audit.record(session, clock(session), "rebuild", details={"origin": origin})


def test_a_number_waits_for_the_lower_one_that_is_not_committed(cluster: Cluster) -> None:
    url = cluster.new_database()
    database, events = Database(url), Events(Database(url))
    before = events.position().highest
    with database.write() as session:
        audit.record(session, clock(session), "rebuild")
        second = threading.Thread(target=write, args=(database, "second"))
        second.start()
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        with database.read() as other:
            while second.is_alive() and not other.connection().execute(waiting).scalar_one():
                pass
        assert second.is_alive(), "the second was committed, and its number is higher than the first's"
        assert events.after(before, 10).changes == []
    second.join()
    assert len(events.after(before, 10).changes) == 2
    database.close()
    events.database.close()


def test_who_reads_on_while_many_write_gets_each_once_in_order(storage: ProjectStorage) -> None:
    database, events = storage.database, Events(storage.database)
    position = events.position()

    def write_many(name: str) -> None:
        for _ in range(40):
            write(database, name)

    writers = [threading.Thread(target=write_many, args=(str(name),)) for name in range(6)]
    for thread in writers:
        thread.start()
    number, got = position.highest, list[int]()
    while any(thread.is_alive() for thread in writers) or events.position().highest > number:
        read = events.after(number, 7)
        got += [change.number for change in read.changes]
        number = read.number
    assert got == sorted(set(got))
    assert len(got) == 6 * 40


def test_numbers_go_on_after_everything_is_forgotten(studio: Studio) -> None:
    storage = studio.another(audit_days=1)
    storage.create_project_structure(ProjectCreate(name="Old"))
    apply_retention(storage)
    with storage.database.write() as session:
        session.connection().execute(update(AuditModel).values(at=clock(session) - timedelta(days=2)))
    before = Events(storage.database).position()
    apply_retention(storage)
    storage.create_project_structure(ProjectCreate(name="New"))
    after = Events(storage.database).position()
    assert (after.stream, after.highest) == (before.stream, before.highest + 1)
    assert after.number_of(before.id_of(before.highest)) == before.highest


def test_an_older_copy_of_the_database_begins_another_history(storage: ProjectStorage) -> None:
    generation.advance(storage)
    before = Events(storage.database).position()
    assert before.stream
    with storage.database.write() as session:
        jobs = JobRepository(session)
        state = dict(jobs.get("generation").state)
        jobs.remember("generation", clock(session), {**state, "number": 0})
    storage.create_project_structure(ProjectCreate(name="Since"))
    assert generation.advance(storage) == generation.RESTORED
    after = Events(storage.database).position()
    assert after.stream not in {"", before.stream}
    assert after.number_of(before.id_of(before.highest)) is None
    # It stays until that happens again.
    generation.advance(storage)
    assert Events(storage.database).position().stream == after.stream
