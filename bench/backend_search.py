# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Searches of many files, and pages of the newest hundred, against the same questions put to the table without index.

Words come as often as in real prompts: some in every second file, most in a few hundred, one in a single file.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from noslop_backend.repositories.search_words import kind_mark, model_mark, project_mark, seed_mark
from noslop_backend.services import ProjectStorage
from noslop_backend.share.layout import FileKind
from sqlalchemy import text

from bench.backend_common import Client, Rounds, parser, percentiles_ms, seconds, serving, studio, tell
from bench.backend_filled import fill

PAGE = 100
#: Of a vocabulary of 5000 words each prompt has ten, and one of four that are common.
_ENTRIES = text("""
    INSERT INTO search_entry (number, file_id, words, marks)
    SELECT (1700000000000000 + n * 1000) * 2048, file_id,
        'picture ' || n || CASE WHEN n % 2 THEN ' cinematic portrait' ELSE ' landscape' END
        || CASE WHEN n % 3 THEN ' detailed' ELSE '' END || CASE n WHEN :rare THEN ' lighthouse' ELSE '' END
        || printf(' w%d w%d w%d w%d w%d w%d w%d w%d w%d w%d', abs(n * 7919) % 5000, abs(n * 104729) % 5000,
            abs(n * 1299709) % 5000, abs(n * 15485863) % 5000, abs(n * 31) % 5000, abs(n * 37) % 5000,
            abs(n * 41) % 5000, abs(n * 43) % 5000, abs(n * 47) % 5000, abs(n * 53) % 5000),
        :project || ' ' || :kind || ' s' || n % 100000 || ' ' || :model
    FROM (SELECT CAST(id AS INTEGER) AS n, id AS file_id FROM file WHERE project_id = :project_id)
""")
_TRIGGER = "SELECT sql FROM sqlite_master WHERE name = 'search_entry_added'"


def _index(storage: ProjectStorage, project_id: str, rare: int) -> None:
    """Make the entries of all files in SQLite itself, and FTS5's index over them at once."""
    marks = {"project": project_mark(project_id), "kind": kind_mark(FileKind.IMAGE), "model": model_mark("sdxl")}
    with storage.database.write() as session:
        connection = session.connection()
        trigger = connection.execute(text(_TRIGGER)).scalar_one()
        connection.execute(text("DROP TRIGGER search_entry_added"))
        connection.execute(_ENTRIES, {"project_id": project_id, "rare": rare, **marks})
        connection.execute(text("INSERT INTO search_text (search_text) VALUES ('rebuild')"))
        connection.exec_driver_sql(trigger)


def _questions(storage: ProjectStorage, project_id: str) -> dict[str, Callable[[], object]]:
    """Return the searches, by what is asked."""
    find = storage.search_files
    return {
        "every second file": lambda: find("cinematic", limit=PAGE),
        "every second file, oldest first": lambda: find("cinematic", limit=PAGE, newest_first=False),
        "three common words": lambda: find("picture cinematic detailed", limit=PAGE),
        "a common phrase": lambda: find('"cinematic portrait"', limit=PAGE),
        "words that no file has both": lambda: find("cinematic landscape", limit=PAGE),
        "a word of some files": lambda: find("w77", limit=PAGE),
        "a common word and one of some files": lambda: find("cinematic w77", limit=PAGE),
        "one file": lambda: find("lighthouse", limit=PAGE),
        "the beginning of common words": lambda: find("cine*", limit=PAGE),
        "the beginning of many words": lambda: find("w1*", limit=PAGE),
        "a long beginning": lambda: find("cinemat*", limit=PAGE),
        "a seed": lambda: find(seed=77, limit=PAGE),
        "a common word and a seed": lambda: find("cinematic", seed=77, limit=PAGE),
        "a common word in a project": lambda: find("cinematic", project_id=project_id, limit=PAGE),
        "a project, a kind and a model": lambda: find(
            project_id=project_id, kinds=[FileKind.IMAGE], model="sdxl", limit=PAGE
        ),
        "a token for one project": lambda: find("cinematic", only=frozenset({project_id}), limit=PAGE),
        "no file": lambda: find("nowhere", limit=PAGE),
    }


def _scan(storage: ProjectStorage, where: str, **values: str) -> Callable[[], object]:
    """Return the same question to the table, which reads it row by row."""
    statement = text(
        "SELECT file.* FROM search_entry JOIN file ON file.id = search_entry.file_id "  # noqa: S608 - our own text
        f"WHERE {where} ORDER BY file.created_at DESC, file.id DESC LIMIT {PAGE}"
    )

    def ask() -> object:
        with storage.database.read() as session:
            return session.connection().execute(statement, values).all()

    return ask


def _worst(times: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: round(1000 * statistics.median(each), 2) for name, each in times.items()}


def main() -> int:
    """Measure, and print one JSON object."""
    arguments = parser(__doc__, rounds=5)
    arguments.add_argument("--files", type=int, default=100_000, help="how many (%(default)s; with --full 1000000)")
    arguments.add_argument("--searches", type=int, default=10, help="of each kind in a turn (%(default)s)")
    given = arguments.parse_args()
    files: int = 1_000_000 if given.full else given.files
    with studio(given.directory) as made:
        project_id = fill(made.storage, files, first=0, on_disk=False)
        _index(made.storage, project_id, rare=files // 3)
        questions = _questions(made.storage, project_id)
        times: dict[str, list[float]] = {name: [] for name in questions}
        pages: dict[str, list[float]] = {"service": [], "http": []}
        newest_path = f"/api/v1/search?{urlencode({'limit': PAGE})}"
        word, seed = _scan(made.storage, "words LIKE '%lighthouse%'"), f"% {seed_mark(77)} %"
        scans = [word, _scan(made.storage, "words LIKE '% cinematic %' AND marks LIKE :seed", seed=seed)]
        with serving(made) as server, Client(server) as client:

            def search() -> float:
                for name, ask in questions.items():
                    times[name] += [seconds(ask) for _ in range(given.searches)]
                return sum(seconds(questions[name]) for name in ("one file", "a common word and a seed"))

            def page() -> float:
                asked = [seconds(lambda: made.storage.search_files(limit=PAGE)) for _ in range(given.searches)]
                pages["service"] += asked
                return statistics.median(asked)

            def http() -> float:
                asked = [seconds(lambda: client.send("GET", newest_path)) for _ in range(given.searches)]
                pages["http"] += asked
                return statistics.median(asked)

            sides = {
                "search": search,
                "without index": lambda: sum(seconds(ask) for ask in scans),
                "newest": page,
                "newest over HTTP": http,
                "newest without index": lambda: seconds(_scan(made.storage, "1 = 1")),
            }
            rounds = Rounds.of(sides, given.rounds)
        return tell(
            "backend_search",
            files=files,
            searches=sum(len(each) for each in times.values()),
            rounds=given.rounds,
            search_ms=percentiles_ms([one for each in times.values() for one in each]),
            median_ms_of=_worst(times),
            newest_page_ms={name: percentiles_ms(each) for name, each in pages.items()},
            search_over_scan=rounds.ratio("search", "without index"),
            newest_over_scan=rounds.ratio("newest", "newest without index"),
        )


if __name__ == "__main__":
    raise SystemExit(main())
