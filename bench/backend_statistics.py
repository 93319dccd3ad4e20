"""Statistics of a project of many files against those of a project of ten, in one database.

They come from counters, so they should take the same time. The statistics of everything are measured beside them.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.backend_common import Rounds, parser, seconds, studio, tell
from bench.backend_filled import fill

FEW = 10


def main() -> int:
    """Measure, and print one JSON object."""
    takes = parser(__doc__, rounds=15)
    takes.add_argument("--files", type=int, default=100_000, help="how many (%(default)s; with --full 1000000)")
    takes.add_argument("--calls", type=int, default=200, help="a turn (%(default)s)")
    given = takes.parse_args()
    files: int = 1_000_000 if given.full else given.files
    calls: int = given.calls
    with studio(given.directory) as made:
        few = fill(made.storage, FEW, first=0, on_disk=False)
        many = fill(made.storage, files, first=FEW, on_disk=False)
        for project_id, count in ((few, FEW), (many, files)):
            assert made.storage.get_storage_stats(project_id).image_count == count

        def turn(ask: Callable[[], object]) -> Callable[[], float]:
            def asked() -> float:
                return seconds(lambda: [ask() for _ in range(calls)]) / calls

            return asked

        sides = {
            "many": turn(lambda: made.storage.get_storage_stats(many)),
            "few": turn(lambda: made.storage.get_storage_stats(few)),
            "everything": turn(made.storage.get_store_stats),
        }
        rounds = Rounds.of(sides, given.rounds)
        return tell(
            "backend_statistics",
            files={"many": files, "few": FEW},
            calls=calls,
            rounds=given.rounds,
            milliseconds={name: round(1000 * rounds.median(name, 9), 3) for name in sides},
            cpu_milliseconds={name: round(1000 * rounds.cpu_s(name) / calls, 3) for name in sides},
            many_over_few=rounds.ratio("many", "few"),
        )


if __name__ == "__main__":
    raise SystemExit(main())
