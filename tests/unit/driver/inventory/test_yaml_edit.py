# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a list in a file changes, and no other character of it."""

from __future__ import annotations

import difflib

import pytest
import yaml

from noslop_driver.inventory.yaml_edit import EditError, add_entry, remove_entry

NEW = {"folder": "loras", "url": "https://models.lan/é: #1.safetensors", "extra": {"note": "two\nlines"}}
FILE = """\
---
# What this studio is.
noslop_studio_id: abc     # mine

# The models.
noslop_models:
  # the first one
  - folder: checkpoints   # big
    url: "https://models.lan/a"
  # the second one
  - ollama: llama3.2:1b
  # after the last one

# About people.
noslop_users: [me]
"""


def list_changes(before: str, after: str) -> list[str]:
    """Return the lines that came and went."""
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[0] in "+-"]


@pytest.mark.parametrize(
    "text",
    [
        FILE,
        FILE.replace("  - ", "- ").replace("    url", "  url"),
        FILE.replace("  - ollama: llama3.2:1b\n", "  - {ollama: a}\n"),
        FILE.replace(
            "  - ollama: llama3.2:1b\n", "  - ollama: a\n    extra:\n      note: |\n        text\n\n        more\n"
        ),
        FILE.replace("llama3.2:1b", "'llama3.2:1b'  # small").rstrip("\n"),
    ],
)
def test_entry_is_added_after_the_last_one_and_comments_stay(text: str) -> None:
    new = add_entry(text, "noslop_models", NEW)
    before = yaml.safe_load(text)
    assert yaml.safe_load(new) == {**before, "noslop_models": [*before["noslop_models"], NEW]}
    assert [line for line in list_changes(text, new) if line[0] == "-"] == []


@pytest.mark.parametrize("value", [" []", "", " [ ]   # none yet", " ~", " null"])
def test_first_entry_is_added_to_an_empty_list(value: str) -> None:
    text = f"a: 1\nnoslop_models:{value}\n# about b\nb: 2\n"
    new = add_entry(text, "noslop_models", NEW)
    assert yaml.safe_load(new) == {"a": 1, "noslop_models": [NEW], "b": 2}
    assert "# about b\nb: 2\n" in new
    assert ("# none yet" in new) == ("# none yet" in text)


def test_variable_that_is_not_set_is_added_at_the_end() -> None:
    new = add_entry("a: 1  # one", "noslop_models", NEW)
    assert new.startswith("a: 1  # one\nnoslop_models:\n")
    assert yaml.safe_load(new)["noslop_models"] == [NEW]


@pytest.mark.parametrize("number", [0, 1])
def test_entry_is_removed_and_comments_stay(number: int) -> None:
    new = remove_entry(FILE, "noslop_models", number)
    (left,) = yaml.safe_load(new)["noslop_models"]
    assert left == yaml.safe_load(FILE)["noslop_models"][1 - number]
    for comment in ("# the first one", "# the second one", "# after the last one", "# About people.", "# mine"):
        assert comment in new


def test_last_entry_leaves_an_empty_list() -> None:
    text = remove_entry(remove_entry(FILE, "noslop_models", 0), "noslop_models", 0)
    assert yaml.safe_load(text)["noslop_models"] == []
    assert yaml.safe_load(add_entry(text, "noslop_models", NEW))["noslop_models"] == [NEW]


@pytest.mark.parametrize("rest", ["", "  # after it"])
def test_list_in_brackets_becomes_one_with_an_entry_a_line(rest: str) -> None:
    text = f"a: 1\nnoslop_models: [{{ollama: 'a#b'}},\n  {{ollama: c}}]{rest}\n# about b\nb: 2\n"
    added = add_entry(text, "noslop_models", NEW)
    assert yaml.safe_load(added)["noslop_models"] == [{"ollama": "a#b"}, {"ollama": "c"}, NEW]
    removed = remove_entry(remove_entry(text, "noslop_models", 0), "noslop_models", 0)
    assert yaml.safe_load(removed) == {"a": 1, "noslop_models": [], "b": 2}
    assert rest in added
    for new in (added, removed):
        assert "# about b\nb: 2\n" in new


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("noslop_models: [{ollama: a},  # mine\n  {ollama: b}]\n", "a list in brackets with comments"),
        ("[1]", "no dictionary"),
        ("a: [", "no YAML"),
    ],
)
def test_form_that_cannot_be_changed_is_refused(text: str, message: str) -> None:
    with pytest.raises(EditError, match=message):
        add_entry(text, "noslop_models", NEW)
