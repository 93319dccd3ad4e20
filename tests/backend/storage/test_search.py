# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search finds what was saved, in order, and its index stays in step with the rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from noslop_backend import migrations
from noslop_backend.archive.exporting import export
from noslop_backend.archive.importing import import_from
from noslop_backend.core.errors import InvalidRequestError, NotFoundError
from noslop_backend.maintenance.inspection import inspect_files
from noslop_backend.maintenance.rebuild import rebuild
from noslop_backend.maintenance.search_index import rebuild_search
from noslop_backend.models import FileModel
from noslop_backend.repositories import SearchRepository, search, search_words
from noslop_backend.schemas import FilePublic, ProjectCreate
from noslop_backend.services import ProjectStorage
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind
from sqlalchemy import insert, text

from tests.backend.studio import Studio, png

FIELDS: dict[str, Any] = {
    "prompt": "an old lighthouse in the storm",
    "negative": "blurry",
    "seeds": [817, -5],
    "sampler": "dpmpp_2m",
    "models": [{"name": "XL/sd_xl_base_1.0.safetensors", "strength": 1.0}],
    "loras": [{"name": "inkwash.safetensors", "strength": 0.6}],
}


def names(storage: ProjectStorage, query: str = "", **wanted: Any) -> list[str]:  # noqa: ANN401 - filters
    return [file.name for file in storage.search_files(query, **wanted).items]


def save(storage: ProjectStorage, project: str, name: str, **parameters: Any) -> FilePublic:  # noqa: ANN401 - JSON
    number = int.from_bytes(os.urandom(3), "big")
    return storage.save_generated_media(project, name, png(number), parameters=parameters)


@pytest.fixture
def filled(storage: ProjectStorage, project: str) -> str:
    """Make a project with files of several kinds, one after the other."""
    save(storage, project, "Lighthouse", fields=FIELDS)
    save(storage, project, "猫の写真 Straße", prompt="a red cat, sitting", seed=817, model="flux1-dev.sft")
    storage.save_prompt(project, "idea", "a sleeping RED fox\nin the snow")
    storage.save_workflow(project, "graph_v2", {"1": {}}, parameters={"note": "for the fox"})
    storage.save_intermediate(project, FileKind.LATENT, "noise.latent", b"latent")
    return project


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("lighthouse", ["Lighthouse"]),
        ("RED", ["idea", "猫の写真 Straße"]),
        ("red cat", ["猫の写真 Straße"]),
        ('"red cat"', ["猫の写真 Straße"]),
        ('"cat red"', []),
        ("sleep*", ["idea"]),
        ("sleep", []),
        ("fox", ["graph_v2", "idea"]),
        ('"sleeping red f"', []),
        ("red-f*", ["idea"]),
        ("写真", ["猫の写真 Straße"]),
        ("真写", []),
        ("STRASSE", ["猫の写真 Straße"]),
        ("sd_xl_base_1.0", ["Lighthouse"]),
        ("817 storm", ["Lighthouse"]),
        ("dpmpp_2m -1 noise", []),
        ("noise", ["noise.latent"]),
        ("AND OR NOT", []),
        ("inkwash (storm)", ["Lighthouse"]),
    ],
)
def test_words_find_files_newest_first(storage: ProjectStorage, filled: str, query: str, expected: list[str]) -> None:
    assert names(storage, query) == expected
    assert names(storage, query, newest_first=False) == expected[::-1]
    assert names(storage, query, project_id=filled) == expected


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"seed": 817}, ["猫の写真 Straße", "Lighthouse"]),
        ({"seed": -5}, ["Lighthouse"]),
        ({"seed": 5}, []),
        ({"model": "sd_xl_base_1.0"}, ["Lighthouse"]),
        ({"model": "XL\\SD_XL_base_1.0.safetensors"}, ["Lighthouse"]),
        ({"model": "inkwash"}, ["Lighthouse"]),
        ({"model": "sd_xl"}, []),
        ({"kinds": [FileKind.PROMPT, FileKind.LATENT]}, ["noise.latent", "idea"]),
        ({"kinds": [FileKind.IMAGE], "seed": 817, "query": "cat"}, ["猫の写真 Straße"]),
        ({"kinds": [FileKind.VIDEO]}, []),
        ({"only": frozenset()}, []),
        ({"tags": ["none"]}, []),
        ({"min_rating": 0}, []),
    ],
)
def test_filters_find_files(storage: ProjectStorage, filled: str, wanted: dict[str, Any], expected: list[str]) -> None:
    assert filled
    assert names(storage, **wanted) == expected


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ('"open', "quotation mark"),
        ('a"b" c', "quotation mark"),
        ('"a"b', "space"),
        ('"a"*', "space"),
        ("*", "asterisk"),
        ("c*t", "asterisk"),
        ("cat**", "asterisk"),
        ("-cat", "excludes nothing"),
        ("!?", "no letter"),
        ("x" * 1001, "1000"),
        ("a " * 33, "32"),
    ],
)
def test_a_query_that_cannot_be_read_is_refused(storage: ProjectStorage, query: str, why: str) -> None:
    with pytest.raises(InvalidRequestError, match=why):
        storage.search_files(query)


ATTACKS = [
    "'; DROP TABLE file; --",
    "' OR 1=1",
    "words : secret",
    "{words marks} : x",
    "marks:kimage",
    "^first",
    "NEAR(a b, 2)",
    "a & b | !c <-> d",
    "a:B 'a':b*",
    "\\'quoted\\'",
    "%a_[b]",
    "\0nul",
    "\ud800half",
    "a\u0301\u0301\u0301",
    "٣ ௧ ½ \u210c ﷺ",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_texts_are_no_query_language(storage: ProjectStorage, project: str, attack: str) -> None:
    """Search for operators of FTS5 and of a tsquery: they separate words, which match as they are."""
    name = attack.replace("\0", "").replace("\ud800", "").strip() or "x"
    save(storage, project, name, prompt=name)
    assert names(storage, attack) == [layout.normalize_title(name)]
    assert names(storage, attack + " elsewhere") == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(max_size=40) | st.text(alphabet="ab\"*-&|!():<>\\'\0{}^ 猫", max_size=40))
def test_any_text_is_answered_or_refused(storage: ProjectStorage, query: str) -> None:
    with suppress(InvalidRequestError):
        storage.search_files(query)


def test_long_texts_are_cut_in_files_and_in_questions(storage: ProjectStorage, project: str) -> None:
    long = "w" * 10_000
    save(storage, project, "long", prompt=long, many=[f"x{number}" for number in range(5000)])
    assert names(storage, "w" * 500) == ["long"]
    assert names(storage, "x1999") == []
    assert names(storage, "x100") == ["long"]


def test_numbers_of_thousands_of_digits_are_no_words(storage: ProjectStorage, project: str) -> None:
    save(storage, project, "big", seed=10**4000, other=10**30)
    assert names(storage, "big") == ["big"]
    assert names(storage, str(10**30)) == []


def test_pages_are_stable_while_files_come_and_go(storage: ProjectStorage, project: str) -> None:
    files = [save(storage, project, f"shot {number}") for number in range(7)]
    first = storage.search_files("shot", limit=3)
    assert [file.name for file in first.items] == ["shot 6", "shot 5", "shot 4"]
    save(storage, project, "shot 7")
    storage.trash(project, [files[4].id, files[3].id])
    second = storage.search_files("shot", limit=3, cursor=first.next_cursor)
    assert [file.name for file in second.items] == ["shot 2", "shot 1", "shot 0"]
    assert (second.next_cursor, second.latest_cursor) == (None, None)


def test_everything_new_is_listed_once(storage: ProjectStorage, project: str) -> None:
    save(storage, project, "before")
    after = storage.search_files().latest_cursor
    assert storage.search_files(since=after, newest_first=False).items == []
    listed = []
    for number in range(5):
        save(storage, project, f"new {number}")
        page = storage.search_files(since=after, newest_first=False, limit=1)
        listed += [file.name for file in page.items]
        while page.next_cursor:
            page = storage.search_files(since=after, newest_first=False, limit=1, cursor=page.next_cursor)
            listed += [file.name for file in page.items]
        after = page.latest_cursor
    assert listed == [f"new {number}" for number in range(5)]


def test_since_and_until_are_moments(storage: ProjectStorage, project: str) -> None:
    file = save(storage, project, "now")
    hour = timedelta(hours=1)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"since": file.created_at - hour}, ["now"]),
        ({"since": (file.created_at + hour).isoformat()}, []),
        ({"until": file.created_at - hour}, []),
        ({"until": file.created_at + hour, "since": file.created_at - hour}, ["now"]),
        ({"until": datetime.max.replace(tzinfo=UTC)}, ["now"]),
        ({"since": datetime.min.replace(tzinfo=UTC)}, ["now"]),
    ]
    for wanted, expected in cases:
        assert names(storage, **wanted) == expected
    for since in ("yesterday", "2026-01-01T00:00:00", "at-", "at-" + "f" * 16):
        with pytest.raises(InvalidRequestError, match="since"):
            storage.search_files(since=since)
    with pytest.raises(InvalidRequestError, match="until"):
        storage.search_files(until=datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
    with pytest.raises(InvalidRequestError, match="cursor"):
        storage.search_files(cursor="2026-01-01T00:00:00Z")


def test_files_in_the_trash_are_no_matches(storage: ProjectStorage, project: str) -> None:
    file = save(storage, project, "shot")
    storage.trash(project, [file.id])
    assert names(storage, "shot") == []
    storage.restore(project, [file.id])
    assert names(storage, "shot") == ["shot"]
    storage.trash(project, [file.id])
    storage.purge(project, [file.id])
    assert entries(storage) == []
    storage.trash_project(project)
    assert names(storage) == []


def test_only_visible_projects_are_searched(storage: ProjectStorage, project: str) -> None:
    other = storage.create_project_structure(ProjectCreate(name="Other")).id
    save(storage, project, "mine")
    mine = storage.search_files(only=frozenset({project}))
    save(storage, other, "theirs")
    assert names(storage, only=frozenset({project})) == ["mine"]
    assert names(storage, only=frozenset({project, other})) == ["theirs", "mine"]
    assert names(storage, project_id=other) == ["theirs"]
    assert names(storage, project_id=other, only=frozenset({project})) == []
    # Not even when something came into another project.
    assert storage.search_files(only=frozenset({project})).latest_cursor == mine.latest_cursor
    with pytest.raises(NotFoundError):
        storage.search_files(project_id="none-00000000")
    many = frozenset(f"p-{number:08}" for number in range(2000)) | {project}
    assert names(storage, only=many) == ["mine"]


def entries(storage: ProjectStorage) -> list[tuple[str, str, str]]:
    """Return the index: id, words and marks of each file."""
    with storage.database.read() as session:
        rows = session.connection().execute(text("SELECT file_id, words, marks FROM search_entry ORDER BY file_id"))
        return [(file_id, str(words), str(marks)) for file_id, words, marks in rows]


def test_a_rebuilt_an_imported_and_a_repaired_index_find_the_same(
    studio: Studio, filled: str, new_database: Callable[[], str], place: Path
) -> None:
    storage = studio.storage
    before = entries(storage)
    assert len(before) == 5
    with storage.database.write() as session:
        session.connection().execute(text("UPDATE search_entry SET words = ''"))
        session.connection().execute(text("DELETE FROM search_entry WHERE file_id = :id"), {"id": before[0][0]})
    assert names(storage, "lighthouse") == []
    assert rebuild_search(storage) == 5
    assert entries(storage) == before
    assert names(storage, "sleeping") == ["idea"]

    rebuilt = Studio(studio.root, new_database(), studio.share_id)
    rebuild(rebuilt.storage)
    # Of an intermediate a rebuild knows no more than its path.
    latent = storage.search_files("noise").items[0].id
    assert [each for each in entries(rebuilt.storage) if each[0] != latent] == [
        each for each in before if each[0] != latent
    ]
    assert [name for name in names(rebuilt.storage) if "latent" not in name] == names(storage)[1:]
    rebuilt.close()

    with (place / "archive.tar").open("w+b") as archive:
        export(storage, filled, archive)
        archive.seek(0)
        copy = import_from(storage, archive).project.id
    for query in ("lighthouse", "sleeping", "red cat", "noise"):
        assert names(storage, query, project_id=copy) == names(storage, query, project_id=filled)


def test_the_migration_makes_the_index_of_files_that_exist(storage: ProjectStorage, filled: str) -> None:
    for number in range(3):
        save(storage, filled, f"more {number}")
    before, listed = entries(storage), names(storage)
    migrations.downgrade(storage.database, "0003")
    migrations.upgrade(storage.database)
    # What files say of themselves is on the share only, and so are texts of prompts.
    inspect_files(storage)
    idea = storage.search_files("idea").items[0].id
    assert [each for each in entries(storage) if each[0] != idea] == [each for each in before if each[0] != idea]
    assert names(storage, "sleeping") == []
    rebuild_search(storage)
    assert entries(storage) == before
    assert names(storage) == listed


def test_files_of_one_moment_have_numbers_of_their_own(storage: ProjectStorage, project: str) -> None:
    """Also those from before every clock, and from times that no clock has shown yet."""
    file = save(storage, project, "model")
    with storage.database.write() as session:
        row, index = session.get_one(FileModel, file.id), SearchRepository(session)
        for year in (2020, 1, 9999):
            rows = []
            for number in range(40):
                new_id, moment = storage.new_id(), datetime(year, 1, 1, tzinfo=UTC)
                fresh = {"id": new_id, "content_id": new_id, "path": f"{year}-{number}", "created_at": moment}
                rows.append(FileModel(**(row.model_dump() | fresh)))
            session.connection().execute(insert(FileModel), [each.model_dump() for each in rows])
            # Some at once, and the others one after the other.
            index.add_older(rows[:20])
            for each in rows[20:]:
                index.add_older([each])
    latest = storage.search_files("model", limit=1000)
    assert len({file.id for file in latest.items}) == 121
    save(storage, project, "last")
    assert names(storage)[0] == "last"


def test_numbers_rise_with_time() -> None:
    moments = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(microseconds=number) for number in range(5)]
    numbers = [search.number_of(moment) for moment in moments]
    assert numbers == sorted(set(numbers))
    assert all(0 <= search.hash_of(f"{number:013}") < search.STEP for number in range(1000))
    assert search.number_of(datetime.max.replace(tzinfo=UTC)) < search.END


def test_words_are_split_alike_in_files_and_questions() -> None:
    assert list(search_words.split("\uff21 cafe\u0301 naïve_x 黒猫x हिन्दी 1.5")) == [
        *("a", "café", "naïve", "x", "黒", "猫", "x", "हिन्दी", "1", "5"),
    ]
