# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reject names and docstrings that a reader would have to guess at, in each room of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint import language


def problems_of(directory: Path, code: str, name: str = "module.py") -> list[str]:
    """Return the problems of one file, without its name."""
    (directory / name).write_text(code)
    return [str(problem).removeprefix(f"{name}:") for problem in language.problems(directory, (name,))]


@pytest.mark.parametrize("room", language.ROOMS)
def test_a_room_uses_the_words_of_the_field(room: str) -> None:
    problems = language.problems(language.ROOT, language.ROOMS[room])
    assert not problems, "\n".join(["", *map(str, problems)])


@pytest.mark.parametrize("room", language.ROOMS)
def test_each_place_of_a_room_has_files(room: str) -> None:
    for place in language.ROOMS[room]:
        assert list(language.ROOT.glob(place)), f"{place} does not exist: correct ROOMS in tests/lint/language.py"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def take_away() -> None: ...\n", "1: function `take_away` has the word `take`"),
        ("async def look_in_sight() -> None: ...\n", "function `look_in_sight` has the word `sight`"),
        ("class FoundHosts: ...\n", "class `FoundHosts` has the word `found`"),
        ("class HTTPSeen: ...\n", "class `HTTPSeen` has the word `seen`"),
        ("def read(hands: int) -> None: ...\n", "parameter `hands` has the word `hands`"),
        ("def read(*, already_known: int) -> None: ...\n", "parameter `already_known` has the word `known`"),
        ("def read(**told: int) -> None: ...\n", "parameter `told` has the word `told`"),
        ("ALREADY_SAID = 1\n", "constant `ALREADY_SAID` has the word `said`"),
        ("if True:\n    for owed in (): ...\n", "2: constant `owed` has the word `owed`"),
        ("class Host:\n    settle: int = 1\n", "2: attribute `settle` has the word `settle`"),
        ("def read(self) -> None:\n    self.begun = 1\n", "2: attribute `begun` has the word `begun`"),
        ("import json as go_on_with\n", "import `go_on_with` has the word `go_on`"),
        ("def read() -> None:\n    seen = 1\n\n\n\n\n    print(seen)\n", "2: variable `seen` has the word `seen`"),
        ("def strangers_pass() -> None: ...\n", "function `strangers_pass` has the word `strangers`"),
    ],
)
def test_a_banned_word_in_a_name_is_rejected(tmp_path: Path, code: str, expected: str) -> None:
    (problem,) = problems_of(tmp_path, code)
    assert expected in problem
    assert " instead." in problem


def test_a_banned_word_in_the_name_of_a_file_is_rejected(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, "", "carry.py")
    assert "file `carry` has the word `carry`. Write copy, send or execute instead." in problem


@pytest.mark.parametrize(
    "code",
    [
        "def mistake() -> None: ...\n",
        "def read(threshold: int) -> None: ...\n",
        "class Foundation: ...\n",
        "known_hosts = 1\n",
        "def read() -> None:\n    found = 1\n    print(found)\n",
        "def read(path: str) -> None:\n    print([seen for seen in path])\n",
    ],
)
def test_other_words_and_short_lived_variables_pass(tmp_path: Path, code: str) -> None:
    assert problems_of(tmp_path, code) == []


def test_an_exception_holds_for_its_place_and_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "ALLOWED", {("api", "seen"): "the field of an interface"})
    for name in ("api", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "check.py").write_text("class Check:\n    seen: str\n    told: str\n")
    assert [f"{problem.path}:{problem.line}" for problem in language.problems(tmp_path, ("api", "other"))] == [
        "api/check.py:3", "other/check.py:2", "other/check.py:3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "opening",
    ["What it has", "Whether it runs", "Who", "Where it lies", "How many", "Which", "Give it", "Gives it", "Say it",
     "Says it", "Tell it", "Tells it", "Returns it", "Reads it", "The hosts", "Every host", "Hosts by name"],
)  # fmt: skip
def test_a_function_whose_docstring_is_no_command_is_rejected(tmp_path: Path, opening: str) -> None:
    (problem,) = problems_of(tmp_path, f'def read() -> None:\n    """{opening}."""\n')
    assert problem.startswith(f"2: the docstring of `read` opens with `{opening.split(maxsplit=1)[0]}`.")


@pytest.mark.parametrize("opening", ["What it has", "How to read", "The module reads", "Reads files", "Gives names"])
def test_a_module_whose_docstring_is_a_question_or_a_remark_is_rejected(tmp_path: Path, opening: str) -> None:
    (problem,) = problems_of(tmp_path, f'"""{opening}."""\n')
    assert "the docstring of the module opens with" in problem


@pytest.mark.parametrize("opening", ["Read hosts", "The marker of a share", "Names of hosts", "Process files"])
def test_a_module_whose_docstring_is_a_command_or_a_thing_passes(tmp_path: Path, opening: str) -> None:
    assert problems_of(tmp_path, f'"""{opening}."""\n') == []


def test_a_command_and_the_noun_of_a_class_pass(tmp_path: Path) -> None:
    code = (
        '"""Read hosts."""\nclass Host:\n    """The host."""\n    def read(self) -> None:\n        """Pass it on."""\n'
    )
    assert problems_of(tmp_path, code) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('def read() -> None:\n    """Read it.\n\n    Nobody waits.\n    """\n', "4: `nobody`: write"),
        ('class Host:\n    """A host that whoever comes by uses."""\n', "2: `whoever`: write"),
        ("# Somebody has it.\n", "1: `somebody`: write"),
        ('"""Read what a user wrote when he came."""\n', "1: `he`: write they"),
        ("x = 1  # his file\n", "1: `his`: write their"),
    ],
)
def test_a_subject_that_does_not_exist_is_rejected(tmp_path: Path, code: str, expected: str) -> None:
    (problem,) = problems_of(tmp_path, code)
    assert expected in problem
