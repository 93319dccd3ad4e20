# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that the name of every play, block, task and handler begins with a known verb."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COLLECTION = ROOT / "collections/ansible_collections/noslop/studio"
FOLDERS = (COLLECTION / "roles", COLLECTION / "playbooks", ROOT / "playbooks", ROOT / "molecule", ROOT / "lab")
#: Keys of a play or a block whose values are lists of tasks.
TASK_LISTS = ("pre_tasks", "tasks", "post_tasks", "handlers", "block", "rescue", "always")
#: The imperative verbs that a name may begin with, sorted, one a line.
VERBS = Path(__file__).with_name("task_verbs.txt").read_text("ascii").split()
#: An optional prefix that names the file or the subject, and the first word of what is done.
FIRST_WORD = re.compile(r"(?:[\w ]+ \| )?(?P<word>\S+) \S")
ADVICE = (
    "Begin these names with a capitalised verb of tests/unit/task_verbs.txt, followed by its object, like "
    "'configure | Export the shared directories'. Add a verb to the list only where no verb in it says what is done."
)


def names(entries: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the names of plays or tasks and of everything in them, with an empty string for a missing name."""
    for entry in entries:
        yield str(entry.get("name", ""))
        for key in TASK_LISTS:
            yield from names(entry.get(key) or [])


def verb_of(name: str) -> str:
    """Return the first word after the prefix, or an empty string where no object follows it."""
    match = FIRST_WORD.match(name)
    return match["word"] if match else ""


def task_files() -> list[Path]:
    """Return all YAML files that may hold plays or tasks."""
    return [path for folder in FOLDERS for path in sorted(folder.rglob("*.yml"))]


def load(path: Path) -> list[dict[str, Any]]:
    """Return the plays or tasks of a file; other content gives an empty list."""
    content = yaml.safe_load(path.read_text("utf-8"))
    return content if isinstance(content, list) else []


def test_every_play_and_task_begins_with_a_allowed_verb() -> None:
    all_names = [(path.relative_to(ROOT), name) for path in task_files() for name in names(load(path))]
    problems = [f"{path}: {name or 'no name'}" for path, name in all_names if verb_of(name) not in VERBS]

    assert len(all_names) > 400
    assert problems == [], "\n".join([ADVICE, *problems])


def test_verbs_are_sorted_and_capitalised() -> None:
    assert sorted({verb.capitalize() for verb in VERBS}) == VERBS


@pytest.mark.parametrize(
    ("name", "verb"),
    [
        ("Remove the nftables table", "Remove"),
        ("configure | Export the shared directories", "Export"),
        ("Remove {{ item }}", "Remove"),
        ("Converge", ""),
        ("configure | remove the table", "remove"),
    ],
)
def test_the_verb_follows_the_prefix_and_needs_an_object(name: str, verb: str) -> None:
    assert verb_of(name) == verb


def test_tasks_at_which_the_fault_tests_kill_a_run_exist() -> None:
    all_names = {name for path in task_files() for name in names(load(path))}
    quoted = re.compile(r'"([a-z_]+ \| [A-Z][^"{}]+)"')
    sources = sorted((ROOT / "tests/faults").glob("*.py"))
    asked = [(path.name, name) for path in sources for name in quoted.findall(path.read_text("utf-8"))]
    assert len(asked) >= 5
    assert [one for one in asked if one[1] not in all_names] == []
