# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sample of `python -m tests.backend.crash`: killed at some of the system calls of each operation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backend.crash import run_all, run_errors
from tests.backend.operations import OPERATIONS
from tests.backend.postgresql import Cluster


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_a_sample_of_system_calls(operation: str, place: Path) -> None:
    points, done = run_all(operation, place, None, every=13)
    assert points > 20
    assert done >= 3


def test_killed_at_a_sample_on_postgresql(place: Path, cluster: Cluster) -> None:
    points, done = run_all("upload", place, cluster, every=17)
    assert points > 20
    assert done >= 3


@pytest.mark.parametrize("operation", ["upload", "adopt"])
def test_a_disk_that_says_no_leaves_nothing(operation: str, place: Path, cluster: Cluster) -> None:
    """Every seventh of its answers: each call in turn says that it is full, over a quota, or broken."""
    tried, refused = run_errors(operation, place, cluster, every=7)
    assert tried > 5
    assert refused > tried / 2
