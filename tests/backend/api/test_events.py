# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events over HTTP: all of them, in order, once, and to nobody who may not see them."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import httpx
import pytest
from noslop_backend.api import create_app
from noslop_backend.api.event_feed import EventFeed, FeedClosedError, TooSlowError
from noslop_backend.api.paths import PREFIX
from noslop_backend.core.enums import TokenScope
from noslop_backend.repositories import JobRepository
from noslop_backend.repositories.audit import AuditRepository
from noslop_backend.services.events import Events
from noslop_backend.services.tokens import Tokens
from sqlalchemy import text

from tests.backend.api.events import Received, following, kinds, since
from tests.backend.api.serving import Served, answering, limits_for_tests, serving, with_token
from tests.backend.studio import Studio


@pytest.fixture
def served(studio: Studio) -> Iterator[Served]:
    """A server whose streams tell at once, and give a sign of life all the time."""
    with serving(studio.storage, limits_for_tests(event_poll_s=0.01, event_heartbeat_s=0.05)) as server:
        yield server


def names(stream: Iterator[Received], count: int) -> list[Received]:
    """The next so many events."""
    return [next(each for each in stream if each.kind) for _ in range(count)]


def test_what_changes_is_told_as_it_changes_with_what_a_page_needs(served: Served) -> None:
    with following(served.reader) as stream:
        begins = next(stream)
        project = served.project()
        at = f"{PREFIX}/projects/{project}"
        image = served.upload(project, 1)
        served.client.patch(f"{at}/files/{image['id']}", json={"rating": 3}).raise_for_status()
        final = served.client.post(f"{at}/files/{image['id']}/promote").json()
        served.client.delete(f"{at}/files/{final['id']}").raise_for_status()
        served.client.post(f"{at}/files/restore", json={"file_ids": [final["id"]]}).raise_for_status()
        served.client.patch(at, json={"description": "new"}).raise_for_status()
        received = names(stream, 7)
    assert begins.kind == ""
    assert kinds(received) == [
        *("project.created", "file.added", "file.changed", "file.promoted", "file.trashed", "file.restored"),
        "project.updated",
    ]
    assert [each.data["id"] for each in received] == [each.id for each in received]
    assert {each.data["project_id"] for each in received} == {project}
    assert received[1].data["files"] == [{"id": image["id"], "path": image["path"]}]
    assert received[2].data["files"] == [{"id": image["id"], "path": image["path"]}]
    assert [each.data["files"][0]["id"] for each in received[3:6]] == [final["id"]] * 3
    assert received[6].data["changed"] == ["description"]
    # Who did it, and from where, is for the audit log.
    assert not {"actor", "actor_name", "origin"} & set(received[1].data)
    # The same from the database, from each place on.
    for place, each in enumerate([begins, *received]):
        assert [one for one in since(served.reader, each.id) if one.kind] == received[place:]
        # A browser sends the header, and its first address with it.
        assert kinds(since(served.reader, each.id, last_event_id=begins.id)) == kinds(received[place:])
        assert kinds(since(served.reader, last_event_id=each.id)) == kinds(received[place:])


def test_filters_by_project_and_kind_and_the_id_goes_on_all_the_same(served: Served) -> None:
    begins = since(served.reader)[-1].id
    one, other = served.project("One"), served.project("Other")
    for project in (one, other):
        served.upload(project, 1)
    assert kinds(since(served.reader, begins, project=one)) == ["project.created", "file.added"]
    assert kinds(since(served.reader, begins, kind="file.added")) == ["file.added"] * 2
    assert kinds(since(served.reader, begins, kind=["file.added", "project.created"], project=other)) == [
        "project.created",
        "file.added",
    ]
    with following(served.reader, project=one) as stream:
        first = next(stream)
        image = served.upload(other, 2)
        # A sign of life moves the id past what is not for this subscriber.
        later = next(each for each in stream if each.id != first.id)
        assert later.kind == ""
    assert kinds(since(served.reader, later.id, project=other)) == []
    assert since(served.reader, first.id)[1].data["files"][0]["id"] == image["id"]
    assert served.reader.get(f"{PREFIX}/events", params={"kind": "file.seen"}).status_code == 422
    assert served.reader.head(f"{PREFIX}/events").headers["content-type"].startswith("text/event-stream")


def test_a_token_for_a_project_gets_events_of_that_project_only(served: Served) -> None:
    begins = since(served.reader)[-1].id
    mine, other = served.project("Mine"), served.project("Other")
    image, still = served.upload(mine, 1), served.upload(other, 2)
    moved = served.client.post(
        f"{PREFIX}/projects/{mine}/files/move", json={"file_ids": [image["id"]], "to_project_id": other}
    )
    assert moved.status_code == 200, moved.text
    served.client.put(f"{PREFIX}/quota", json={"quota_bytes": 10**9}).raise_for_status()
    tokens = Tokens(served.storage.database)
    texts = [tokens.create(name, TokenScope.READ, None, [name]).text for name in ("Mine", "Other")]
    with ExitStack() as stack:
        for_mine, for_other = (stack.enter_context(with_token(served.url, each)) for each in texts)
        received = since(for_mine, begins)
        assert kinds(received) == ["project.created", "file.added", "file.moved", "store.changed"]
        assert {each.data.get("project_id") for each in received if each.kind} == {mine, None}
        assert received[3].data["files"] == [{"id": image["id"], "path": ""}]
        assert other not in str([each.data for each in received])
        received = since(for_other, begins)
        assert kinds(received) == ["project.created", "file.added", "file.moved", "store.changed"]
        assert received[2].data["files"][0]["id"] == still["id"]
        assert (received[3].data["project_id"], received[3].data["to_project_id"]) == (other, other)
        assert mine not in str([each.data for each in received])
        refused = for_mine.get(f"{PREFIX}/events", params={"project": other})
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    whole = next(each for each in since(served.reader, begins) if each.kind == "file.moved")
    assert (whole.data["from_project_id"], whole.data["to_project_id"]) == (mine, other)


def test_a_token_that_is_revoked_gets_nothing_any_more(served: Served) -> None:
    tokens = Tokens(served.storage.database)
    made = tokens.create("soon revoked", TokenScope.READ, None)
    with with_token(served.url, made.text) as client, following(client) as stream:
        next(stream)
        tokens.revoke("soon revoked")
        # The stream ends.
        assert [each for each in stream if each.kind] == []


def test_an_id_from_before_what_is_remembered_tells_to_reload(served: Served, studio: Studio) -> None:
    begins = since(served.reader)[-1].id
    project = served.project()
    now = since(served.reader)[-1].id
    stream, _, number = now.partition("-")
    for unknown in ("", "x", "0-1", f"0{stream}-{number}", f"{stream}-{int(number) + 1}", f"{stream}-{10**17}"):
        first, *rest = since(served.reader, unknown)
        assert (first.kind, first.id, first.data["id"], kinds(rest)) == ("reload", now, now, [])
        assert "Read the lists again" in first.data["detail"]
    database = studio.storage.database
    served.upload(project, 1)
    with database.write() as session:
        session.connection().execute(text("DELETE FROM audit WHERE id <= :number"), {"number": int(number)})
    assert kinds(since(served.reader, begins)) == ["reload"]
    assert kinds(since(served.reader, now)) == ["file.added"]
    # An older copy of the database counts from there again: its numbers are others.
    with database.write() as session:
        JobRepository(session).begin_stream()
    assert kinds(since(served.reader, now)) == ["reload"]


def test_who_is_too_far_behind_reloads(studio: Studio) -> None:
    with serving(studio.storage, limits_for_tests(event_replay=2)) as served:
        begins = since(served.reader)[-1].id
        project = served.project()
        near = since(served.reader)[-1].id
        for number in range(2):
            served.upload(project, number)
        assert kinds(since(served.reader, begins)) == ["reload"]
        assert kinds(since(served.reader, near)) == ["file.added"] * 2


def test_streams_are_bounded_and_cost_other_requests_nothing(studio: Studio) -> None:
    limits = limits_for_tests(event_streams=3, event_streams_per_token=2, requests_per_token=1)
    with serving(studio.storage, limits) as served, ExitStack() as stack:
        # A stream that nobody holds any more is closed.
        held = [stack.enter_context(following(served.reader)) for _ in range(2)]
        for stream in held:
            next(stream)
        refused = served.reader.get(f"{PREFIX}/events")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert served.reader.get(f"{PREFIX}/projects").status_code == 200
        held.append(stack.enter_context(following(served.writer)))
        next(held[-1])
        assert served.client.get(f"{PREFIX}/events").status_code == 429
        assert served.anybody.get(f"{PREFIX}/events").status_code == 401
    # With `serving` the server was told to stop, and did not wait for streams.


def test_changes_of_another_process_are_told(served: Served, studio: Studio) -> None:
    limits = limits_for_tests(event_poll_s=0.01)
    token = served.reader.headers["authorization"].split()[1]
    with answering(create_app(studio.another(), limits), limits) as url, with_token(url, token) as reader:
        with following(reader) as stream:
            next(stream)
            project = served.project()
            (created,) = names(stream, 1)
        assert (created.kind, created.data["project_id"]) == ("project.created", project)
        # What one process told is an id for the other.
        assert kinds(since(served.reader, created.id)) == []


def test_connections_that_break_off_anywhere_miss_nothing_and_get_nothing_twice(served: Served) -> None:
    begins, project, count = since(served.reader)[-1].id, served.project(), 60
    rounds = [random.Random(seed) for seed in range(8)]  # noqa: S311 - no secret
    got: list[list[str]] = [[] for _ in rounds]

    def subscribe(place: int, client: httpx.Client) -> None:
        last, dice = begins, rounds[place]
        while len(got[place]) < count + 1:
            with following(client, last) as stream:
                for _ in range(dice.randint(1, 9)):
                    block = next(stream)
                    last = block.id
                    if block.kind:
                        got[place].append(block.id)

    def upload(first: int) -> None:
        for number in range(first, count, 3):
            served.upload(project, number)

    with ExitStack() as stack:
        token = served.reader.headers["authorization"].split()[1]
        clients = [stack.enter_context(with_token(served.url, token)) for _ in rounds]
        threads = [threading.Thread(target=subscribe, args=each) for each in enumerate(clients)]
        writers = [
            threading.Thread(
                target=lambda first: [served.upload(project, n) for n in range(first, count, 3)], args=(n,)
            )
            for n in range(3)
        ]
        for thread in [*threads, *writers]:
            thread.start()
        for thread in [*threads, *writers]:
            thread.join()
    wanted = [each.id for each in since(served.reader, begins) if each.kind]
    assert len(wanted) == count + 1
    assert all(each == wanted for each in got)


def test_a_subscriber_that_falls_behind_what_is_held_is_sent_away_and_comes_back_to_all_of_it(studio: Studio) -> None:
    database = studio.storage.database
    events = Events(database)

    def write(count: int) -> int:
        with database.write() as session:
            for _ in range(count):
                AuditRepository(session).add(_row())
        return events.position().highest

    async def follow() -> None:
        feed = EventFeed(events, limits_for_tests(event_poll_s=0.001), held=5)
        async with feed.subscribed() as position:
            stream, number = position.stream, position.highest
            for count in (3, 5):
                last = await asyncio.to_thread(write, count)
                while feed.head < last:
                    await feed.wait(feed.head, 1.0)
                changes, number = await feed.after(stream, number, replays=False)
                assert (len(changes), number) == (count, last)
            last = await asyncio.to_thread(write, 6)
            while feed.head < last:
                await feed.wait(feed.head, 1.0)
            with pytest.raises(TooSlowError):
                await feed.after(stream, number, replays=False)
            # As the one that comes back with the same number.
            changes, number = await feed.after(stream, number, replays=True)
            assert (len(changes), number) == (6, last)
            feed.close()
            with pytest.raises(FeedClosedError):
                await feed.after(stream, number, replays=True)

    asyncio.run(follow())


def _row() -> dict[str, object]:
    return {
        "at": datetime.now(UTC),
        "actor_kind": "user",
        "actor_name": "x",
        "origin": "x",
        "operation": "rebuild",
        "outcome": "done",
        "details": {},
    }
