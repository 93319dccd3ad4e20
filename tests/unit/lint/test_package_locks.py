# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a lock without a requirement, without hashes or with an address is rejected."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint.package_locks import LOCKS, ROOT, Lock, problems

LOCK = Lock("dev.lock", (("pyproject.toml", ("dev",)),))
PROJECT = """
[project]
dependencies = ["click>=8.1", "tomli>=2; python_version < '3.12'"]
[project.optional-dependencies]
dev = ["Types_PyYAML>=6"]
"""
HASH = " \\\n    --hash=sha256:00\n"
CLICK, TOMLI, TYPES = (
    f"click==8.5.1{HASH}",
    f"tomli==2.1 ; python_full_version < '3.12'{HASH}",
    f"types-pyyaml==6{HASH}",
)


def problems_of(directory: Path, lock: str) -> list[str]:
    """Return the problems of a lock beside PROJECT."""
    (directory / "pyproject.toml").write_text(PROJECT)
    (directory / LOCK.path).write_text(lock)
    return problems(directory, LOCK)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.path)
def test_every_lock_has_what_its_sources_require(lock: Lock) -> None:
    assert problems(ROOT, lock) == []


def test_complete_lock_passes(tmp_path: Path) -> None:
    assert problems_of(tmp_path, f"# made by uv\n{CLICK}{TOMLI}{TYPES}") == []


@pytest.mark.parametrize(
    ("lock", "expected"),
    [
        (f"{CLICK}{TOMLI}", "has no Types_PyYAML>=6 of pyproject.toml for Python 3.11, 3.12, 3.13: run `make lock`"),
        (f"{CLICK}{TYPES}", "for Python 3.11: run `make lock`"),
        (f"click==8.0{HASH}{TOMLI}{TYPES}", "has no click>=8.1 of pyproject.toml"),
        (f"click==8.5.1 ; python_full_version < '3.13'{HASH}{TOMLI}{TYPES}", "for Python 3.13: run"),
        (f"click==8.5.1\n{TOMLI}{TYPES}", "click==8.5.1 has no hash"),
        (f"--index-url https://index.example\n{CLICK}{TOMLI}{TYPES}", "dev.lock:1: names an address"),
    ],
)
def test_lock_that_lacks_something_is_rejected(tmp_path: Path, lock: str, expected: str) -> None:
    (problem,) = problems_of(tmp_path, lock)
    assert expected in problem
