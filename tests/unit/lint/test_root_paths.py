"""Test that `make lint` rejects each kind of call that changes files by path without a reason."""

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
def test_call_by_path_without_a_reason_is_rejected(tmp_path: Path, call: str) -> None:
    (tmp_path / "module.py").write_text(f"def work(path, other, text):\n    {call}\n")
    (problem,) = root_paths.problems(tmp_path, {})
    assert "module.py:2: work calls" in problem
    assert root_paths.problems(tmp_path, {("module.py", "work"): "only root can change it"}) == []


@pytest.mark.parametrize(
    "call", ['open(path, "rb")', "os.chown(name, 1, 1, dir_fd=directory)", 'text.replace("a", "b")', "os.lstat(path)"]
)
def test_call_that_reads_or_works_by_descriptor_passes(tmp_path: Path, call: str) -> None:
    (tmp_path / "module.py").write_text(f"def work(path, name, directory, text):\n    {call}\n")
    assert root_paths.problems(tmp_path, {}) == []


def test_reason_without_a_call_is_rejected(tmp_path: Path) -> None:
    assert "needs it no more" in root_paths.problems(tmp_path, {("module.py", "work"): "was needed once"})[0]


def test_every_call_of_the_collection_has_a_reason() -> None:
    assert root_paths.problems() == []
