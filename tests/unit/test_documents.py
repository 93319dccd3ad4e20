# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that what the documents name exists: paths of the repository, modules, `make` targets and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COLLECTION = ROOT / "collections/ansible_collections/noslop/studio"
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / ".github").rglob("*.md")),
    COLLECTION / "README.md",
    *sorted((COLLECTION / "roles").glob("*/README.md")),
    ROOT / "lab/standins/README.md",
]
#: The directories that a path in a document may be relative to.
BASES = (
    *(ROOT, COLLECTION, COLLECTION / "plugins", ROOT / "backend/noslop_backend", ROOT / "inventories/example"),
    COLLECTION / "roles/comfyui",  # for the files that every role has
)
#: What is made by `make` or by the driver, and is not in the repository.
MADE = (".venv/", ".lab/", "dist/", "inventories/my-studio", "inventories/demo")
#: Where a path begins that is on a host, in the user's home, in a studio's directory, in a project or at a vendor.
ELSEWHERE = ("/", "~", ".noslop/", "projects/", "http", "ollama/", "whl/", "pypi/")

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TARGET = re.compile(r"\bmake ((?:[a-z]+-)*[a-z]+)\b")
_MODULE = re.compile(r"-m ((?:tests|bench)\.[a-z_.]+)")
_FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.(?:py|yml|yaml|j2|sh|md|toml|cfg|lock)")


def code_of(text: str) -> Iterator[str]:
    """Yield the code in a document: the spans in backticks, and the blocks."""
    yield from (block[0] for block in _FENCE.finditer(text))
    yield from (span[1] for span in _SPAN.finditer(_FENCE.sub("", text)))


def words_of(text: str) -> Iterator[str]:
    """Yield the words of the spans in backticks, without placeholders such as `<role>` and what is elsewhere."""
    for span in _SPAN.finditer(_FENCE.sub("", text)):
        for word in span[1].split():
            if not any(sign in word for sign in "<>{}*=$(") and not word.startswith((*MADE, *ELSEWHERE)):
                yield word


def exists(path: str) -> bool:
    return any((base / path).exists() for base in BASES)


def missing_paths(text: str) -> list[str]:
    """Return the paths that look like the repository's and do not exist."""
    top = {path.name for path in ROOT.iterdir()} - {".venv", ".lab"}
    return [
        word
        for word in words_of(text)
        if "/" in word and (word.split("/")[0] in top or _FILE.fullmatch(word)) and not exists(word)
    ]


def missing_targets(text: str, makefile: str) -> list[str]:
    """Return the targets that a document tells the reader to make, and that the Makefile does not have."""
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    return [name for code in code_of(text) for name in _TARGET.findall(code) if name not in targets]


def missing_modules(text: str) -> list[str]:
    """Return the modules after `python -m` that do not exist."""
    modules = [name.rstrip(".") for code in code_of(text) for name in _MODULE.findall(code)]
    return [name for name in modules if not (ROOT / f"{name.replace('.', '/')}.py").is_file()]


def missing_links(document: Path, text: str) -> list[str]:
    """Return the relative links that lead to no file."""
    links = (link.partition("#")[0] for link in _LINK.findall(text))
    return [link for link in links if link and "://" not in link and not (document.parent / link).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_paths_modules_targets_and_links_of_a_document_exist(document: Path) -> None:
    text = document.read_text("utf-8")
    assert missing_paths(text) == []
    assert missing_modules(text) == []
    assert missing_targets(text, (ROOT / "Makefile").read_text("utf-8")) == []
    assert missing_links(document, text) == []


def test_what_does_not_exist_is_reported() -> None:
    text = (
        "`tests/unit/no_such.py` `module_utils/host/no_such.py` `lab/no-such` [x](no-such.md) `x/pytest lab/no`\n"
        "`make no-such` `python -m bench.no_such`\n```\nmake other-target      # which is not there\n```\n"
    )
    assert missing_paths(text) == [
        "tests/unit/no_such.py", "module_utils/host/no_such.py", "lab/no-such", "lab/no",
    ]  # fmt: skip
    assert missing_targets(text, "demo: lab\n") == ["other-target", "no-such"]
    assert missing_modules(text) == ["bench.no_such"]
    assert missing_links(ROOT / "README.md", text) == ["no-such.md"]


def test_what_is_on_a_host_or_is_made_is_passed_over() -> None:
    text = (
        "`/etc/noslop/backend.env` `.venv/bin/python` `molecule/<role>/` `.noslop/lock` `inventories/my-studio` `a/b`"
    )
    assert missing_paths(text) == []


def test_glossary_is_sorted_and_has_each_word_once_with_its_place() -> None:
    lines = (ROOT / "docs/glossary.md").read_text("utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][1:]
    words = [word for word, _, _ in rows]
    assert len(words) > 40
    assert words == sorted(set(words), key=str.casefold)
    for word, meaning, place in rows:
        assert meaning.endswith("."), word
        assert _SPAN.search(place), word


def test_places_of_the_glossary_exist() -> None:
    text = (ROOT / "docs/glossary.md").read_text("utf-8")
    for kind, folder in (("role", "roles"), ("playbook", "playbooks"), ("plugin", "plugins")):
        for name in re.findall(rf"\b{kind} `(\w+)`", text):
            assert any((COLLECTION / folder).rglob(f"{name}*")), f"{kind} {name}"
    for place in re.findall(r"`((?:module_utils|plugin_utils|noslop_driver|backend|lab|inventories)/?[\w./]*)`", text):
        assert exists(place), place
