# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each benchmark of the backend at a tiny size: it works, and prints its JSON. What its figures are is no test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def _keys(*names: str) -> set[str]:
    return {"benchmark", "processors", "python", "rounds", *names}


BENCHMARKS: dict[str, tuple[list[str], set[str]]] = {
    "backend_upload": (
        ["--mib", "5"],
        _keys("mib", "seconds", "upload_over_bare", "server_cpu_seconds_per_gib", "memory_growth_mib"),
    ),
    "backend_reads": (
        ["--requests", "8"],
        _keys(
            *("requests", "connections", "requests_per_second", "get_project_over_bare"),
            "server_cpu_ms_per_request",
        ),
    ),
    "backend_statistics": (
        ["--files", "50", "--calls", "2"],
        _keys("files", "calls", "milliseconds", "cpu_milliseconds", "many_over_few"),
    ),
    "backend_reconcile": (
        ["--files", "50"],
        _keys(
            *("files", "seconds", "walk_over_original", "walk_over_rglob", "walk_over_gdu"),
            *("cpu_us_per_file", "with_comparison"),
        ),
    ),
    "backend_saves": (
        ["--saves", "2"],
        _keys("saves", "saves_per_second", "save_workflow_over_bare", "latency_ms", "cpu_ms_per_save"),
    ),
    "backend_versions": (
        ["--saves", "2", "--before", "HEAD"],
        _keys("old_version", "saves", "cpu_ms_per_save", "now_over_before", "now_over_bare", "elapsed_s"),
    ),
    "backend_search": (
        ["--files", "60", "--searches", "1"],
        _keys("files", "searches", "search_ms", "median_ms_of", "newest_page_ms", "search_over_scan")
        | {"newest_over_scan"},
    ),
    "backend_mixed": (
        ["--saves", "4"],
        _keys(
            *("writers", "readers", "saves_per_second", "with_readers_over_alone", "reads_per_second"),
            "latency_ms",
        ),
    ),
    "backend_hostile": (
        ["--seconds", "0.5", "--silent", "80", "--slow", "10", "--anonymous", "3"],
        _keys("load", "writers", "saves_per_second", "beside_hostile_over_alone", "memory_mib"),
    ),
}

#: `make test` runs these.
SAMPLE = ("backend_reads", "backend_saves", "backend_statistics")


def test_all_of_them_are_here() -> None:
    modules = {path.stem for path in (ROOT / "bench").glob("backend_*.py")}
    helpers = {"backend_bare", "backend_common", "backend_filled"}
    assert modules - helpers == set(BENCHMARKS)
    made = (ROOT / "Makefile").read_text().split("BENCHES := ")[1].splitlines()[0].split()
    assert {f"backend_{name}" for name in made} == set(BENCHMARKS)


@pytest.mark.parametrize(
    "name", [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.long) for name in BENCHMARKS]
)
def test_a_benchmark_prints_its_figures(name: str, place: Path) -> None:
    words, keys = BENCHMARKS[name]
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", "--rounds", "1", "--directory", str(place), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert (report["benchmark"], set(report)) == (name, keys)
    # What was made is gone.
    assert list(place.iterdir()) == []
