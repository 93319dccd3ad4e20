# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which models are read into memory, and how each is described then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.models import warm
from ansible_collections.noslop.studio.plugins.module_utils.models.warm import Model, Row, Share

from tests.support.ollama_models import write_model
from tests.support.page_cache import write_cold

MIB = 1 << 20


def shares(root: Path) -> dict[str, Share]:
    return {name: Share(name, str(root / name), None) for name in (warm.FILES, warm.BLOBS)}


def states(rows: list[Row]) -> list[tuple[str, int, int]]:
    return [(row.state, row.resident, row.read) for row in rows]


@pytest.mark.parametrize(
    ("sizes", "limit", "chosen"),
    [((3, 3, 3), 9, [0, 1, 2]), ((3, 3, 3), 8, [0, 1]), ((9, 3, 9, 3), 6, [1, 3]), ((1,), 0, []), ((0,), 0, [0])],
)
def test_models_are_chosen_in_their_order_as_far_as_they_fit(
    sizes: tuple[int, ...], limit: int, chosen: list[int]
) -> None:
    rows = [Row(str(number), size=size) for number, size in enumerate(sizes)]
    assert [int(row.path) for row in warm.choose(rows, limit)] == chosen
    assert all((row.state == "no_room") == (int(row.path) not in chosen) for row in rows)


def test_model_that_is_in_memory_without_fitting_stays_warm() -> None:
    rows = [Row("a", size=3), Row("b", "warm", size=3, resident=3)]
    assert [row.path for row in warm.choose(rows, 3)] == ["a"]
    assert rows[1].state == "warm"


def test_models_that_cannot_be_read_need_no_room() -> None:
    rows = [Row("a", "missing", size=5), Row("b", "failed", size=5), Row("c", size=5)]
    assert [row.path for row in warm.choose(rows, 5)] == ["c"]
    assert [row.state for row in rows] == ["missing", "failed", "cold"]


def test_limit_is_a_part_of_the_memory_that_is_available(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:       2000 kB\n")
    assert warm.read_limit(25, str(tmp_path / "meminfo")) == 500 * 1024
    assert 0 < warm.read_limit(50) < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_files_and_blobs_are_read_once_and_what_does_not_fit_is_not_read(tmp_path: Path) -> None:
    write_cold(tmp_path / warm.FILES / "loras/one", os.urandom(MIB))
    write_cold(tmp_path / warm.FILES / "loras/large", os.urandom(3 * MIB))
    size = write_model(tmp_path / warm.BLOBS, "painter:1b", os.urandom(MIB))
    models = [
        Model("loras/large"),
        Model("loras/one"),
        Model("loras/none"),
        Model(ollama="painter:1b"),
        Model(ollama="no:1b"),
    ]
    limit = MIB + size
    assert states(warm.measure(models, shares(tmp_path)))[:2] == [("cold", 0, 0)] * 2

    rows = warm.warm(models, shares(tmp_path), limit)

    assert states(rows) == [
        ("no_room", 0, 0), ("warm", MIB, MIB), ("missing", 0, 0), ("warm", size, size), ("missing", 0, 0)
    ]  # fmt: skip
    assert f"it has {3 * MIB} bytes, and {limit} are left" in rows[0].message
    again = warm.warm(models, shares(tmp_path), limit)
    assert [(row.state, row.read) for row in again] == [(row.state, 0) for row in rows]


def test_damaged_manifest_fails_and_the_others_are_read(tmp_path: Path) -> None:
    size = write_model(tmp_path / warm.BLOBS, "painter:1b", os.urandom(MIB))
    write_model(tmp_path / warm.BLOBS, "bad:1b", b"")
    (tmp_path / warm.BLOBS / "manifests/registry.ollama.ai/library/bad/1b").write_text("{")
    rows = warm.warm([Model(ollama="bad:1b"), Model(ollama="painter:1b")], shares(tmp_path), 9 * MIB)
    assert states(rows) == [("failed", 0, 0), ("warm", size, size)]
    assert "damaged manifest" in rows[0].message
