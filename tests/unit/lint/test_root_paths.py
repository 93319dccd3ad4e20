"""The check in `make lint` for calls that change files by their paths finds each kind of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint import root_paths


@pytest.mark.parametrize(
    "call",
    [
        "os.chown(path, 1, 1)",
        "os.chmod(path, 0o644)",
        "os.makedirs(path, exist_ok=True)",
        "os.rename(path, other)",
        "shutil.rmtree(path)",
        "shutil.copy(path, other)",
        'open(path, "w", encoding="utf-8")',
        'open(path, mode="ab")',
        "Path(path).write_text(text)",
        "path.rename(other)",
    ],
)
def test_a_call_by_path_needs_a_reason(tmp_path: Path, call: str) -> None:
    (tmp_path / "module.py").write_text(f"def work(path, other, text):\n    {call}\n")
    (problem,) = root_paths.problems(tmp_path, {})
    assert "module.py:2: work calls" in problem
    assert root_paths.problems(tmp_path, {("module.py", "work"): "only root can change it"}) == []


@pytest.mark.parametrize(
    "call", ['open(path, "rb")', "os.chown(name, 1, 1, dir_fd=directory)", 'text.replace("a", "b")', "os.lstat(path)"]
)
def test_what_reads_or_works_by_descriptor_needs_none(tmp_path: Path, call: str) -> None:
    (tmp_path / "module.py").write_text(f"def work(path, name, directory, text):\n    {call}\n")
    assert root_paths.problems(tmp_path, {}) == []


def test_a_reason_that_is_needed_no_more_is_an_error(tmp_path: Path) -> None:
    assert "needs it no more" in root_paths.problems(tmp_path, {("module.py", "work"): "was needed once"})[0]


def test_the_collection_has_a_reason_for_each() -> None:
    assert root_paths.problems() == []
