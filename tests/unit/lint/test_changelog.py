# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a change of the collection or the driver without a fragment is rejected, wherever the history is there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lint.changelog import CHANGELOGS, COLLECTION, problems, read_changes

FRAGMENT = f"{CHANGELOGS}fragments/0009-disk.yml"


def git(directory: Path, *arguments: str) -> None:
    """Run git in a directory, as an author of its own."""
    author = ("-c", "user.name=Author", "-c", "user.email=author@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *author, *arguments], cwd=directory, check=True, capture_output=True)


def commit(directory: Path, path: str) -> None:
    """Write a file and commit it."""
    (directory / path).parent.mkdir(parents=True, exist_ok=True)
    (directory / path).write_text("x")
    git(directory, "add", "--all")
    git(directory, "commit", "--message", "Add a file")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository whose branch `work` has left `main`, which went on."""
    directory = tmp_path / "repository"
    directory.mkdir()
    git(directory, "init", "--initial-branch", "main")
    commit(directory, "README.md")
    git(directory, "switch", "--create", "work")
    git(directory, "switch", "main")
    commit(directory, "noslop_driver/of_another_branch.py")
    git(directory, "switch", "work")
    return directory


def test_change_is_what_the_branch_and_the_working_tree_add(repository: Path) -> None:
    commit(repository, "noslop_driver/phases.py")
    (repository / "new.py").write_text("x")
    assert read_changes(repository) == ["new.py", "noslop_driver/phases.py"]


def test_clone_without_the_history_is_not_compared(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--depth", "1", "--branch", "work", f"file://{repository}", "shallow")
    assert read_changes(tmp_path / "shallow") is None


@pytest.mark.parametrize("path", ["noslop_driver/phases.py", f"{COLLECTION}roles/ollama/tasks/main.yml"])
def test_change_without_a_fragment_is_rejected(path: str) -> None:
    (problem,) = problems([path, "docs/architecture.md"])
    assert problem.startswith(f"{path} changed, and no fragment says so. Add a file to ")


@pytest.mark.parametrize(
    "paths",
    [
        [],
        ["Makefile", "tests/unit/test_documents.py", f"{COLLECTION}README.md", f"{COLLECTION}tests/config.yml"],
        ["noslop_driver/phases.py", FRAGMENT],
        [f"{COLLECTION}galaxy.yml", f"{CHANGELOGS}changelog.yaml"],
    ],
)
def test_change_with_a_fragment_or_of_nothing_that_users_run_passes(paths: list[str]) -> None:
    assert problems(paths) == []
