# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find names and docstrings that a reader would have to guess at.

The words of NoSlop and their meanings are in docs/glossary.md. This check rejects words that mean too many things in
names of files, functions, classes, parameters, attributes, constants, and of variables that live beyond five lines;
docstrings of modules and functions that do not open with a command ("Return ...", "Write ..."); and, in docstrings and
comments, the words in PEOPLE: subjects that do not exist, and users who are not "they".

    python tests/lint/language.py
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What is read, by room. The backend's tests and benchmarks are not here yet.
ROOMS: dict[str, tuple[str, ...]] = {
    "driver": ("noslop_driver", "hatch_build.py", "tests/unit/driver"),
    "collection": (
        *("collections/ansible_collections/noslop/studio/plugins", "tests/unit/collection", "tests/collection"),
    ),
    "backend": ("backend/noslop_backend",),
    "lab": ("lab", "molecule", "tests/unit/lab"),
    "tests on the lab": (
        *("tests/faults", "tests/studio", "tests/local", "tests/real", "tests/lab", "tests/support/lab"),
        "bench/readahead.py",
    ),
    "tests' helpers": ("tests/support/*.py", "tests/lint", "tests/unit/lint", "tests/unit/*.py"),
}

#: A banned word (words of a name are joined with an underscore), and better ones.
BANNED = {
    "said": "message, text or reported",
    "told": "message, options or requested",
    "found": "what it contains: candidates, matches, problems",
    "begun": "started",
    "seen": "observed",
    "known": "what makes it so: declared, accepted, registered",
    "wish": "setting", "wishes": "settings", "wished": "requested",
    "owed": "pending or due",
    "sight": "observation or view",
    "stranger": "non_member or foreign", "strangers": "non_members or foreign",
    "hands": "accounts, workers or the thing itself",
    "take": "acquire, claim, reserve, read or remove",
    "hold": "contain, keep open, lock or retain",
    "settle": "apply, finish or resolve",
    "carry": "copy, send or execute",
    "go_on": "continue or resume",
    "keeper": "the thing that is managed, such as nfs client",
    "near_miss": "misspelled", "near_misses": "misspelled",
    "holders": "users, such as mount_users",
    "neighbours": "interfaces or addresses",
    "sweep": "scan or cleanup",
    "odd": "unexpected, invalid or what is wrong with it",
    "quieten": "mask or silence",
}  # fmt: skip
#: Names of others that contain a banned word.
FOREIGN_NAMES = {"known_hosts": "OpenSSH's file", "not_found": "HTTP's answer (RFC 9110, 15.5.5)"}
_COLUMN = "a column of the database"
_CHECK = "a key of a check's result: host, check, ok, seen, expected, todo"
#: Banned words that stay, by place (a path, or the folders above it) and name; "*" is every name.
ALLOWED: dict[tuple[str, str], str] = {
    ("collections/ansible_collections/noslop/studio/plugins/module_utils/checks/check.py", "seen"): _CHECK,
    ("tests/unit/collection/module_utils/checks", "seen"): _CHECK,
    **{("backend/noslop_backend", name): _COLUMN for name in ("times_seen", "first_seen_at", "last_seen_at")},
    ("tests/unit/collection/plugin_utils/test_reports.py", "seen"): _CHECK,
    ("tests/unit/driver/output/test_progress.py", "seen"): _CHECK,
    ("lab/standins/comfyui", "*"): "ComfyUI's own names",
    ("lab/standins/ollama_standin", "*"): "Ollama's own names",
}

#: A variable that is used on more lines than these needs a name that reads by itself.
SHORT_LIFE_LINES = 5

#: First words of a docstring that open a question or a remark, and not a command.
QUESTIONS = frozenset({
    *("what", "whether", "who", "whom", "whose", "where", "when", "why", "how", "which"),
    *("give", "gives", "say", "says", "tell", "tells"),
})  # fmt: skip
#: First words of a thing. A class is one, and a file of tests may be about one; a function does something.
THINGS = frozenset({
    *("a", "an", "the", "this", "that", "these", "those", "it", "its", "they", "there", "one", "two", "no"),
    *("all", "any", "both", "each", "every", "everything", "nothing", "same"),
})  # fmt: skip
PEOPLE = {
    "nobody": "the subject that does not exist: say what is refused, and to which account or host",
    "somebody": "the account, program or person that is meant",
    "whoever": "the account, program or person that is meant",
    "he": "they", "him": "them", "his": "their",
}  # fmt: skip
_PEOPLE = re.compile(rf"\b({'|'.join(PEOPLE)})\b", re.IGNORECASE)
_FIRST_WORD = re.compile(r"[A-Za-z]+(?=$|[\s,.:;])")


@dataclass(frozen=True, order=True)
class Problem:
    """A word that should be another one."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def words_of(name: str) -> list[str]:
    """Split a name in snake_case or CamelCase into its words, in small letters."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return [part.lower() for part in re.split(r"[^A-Za-z0-9]+", parts) if part]


def banned_words(name: str) -> list[str]:
    """Return the banned words in a name."""
    joined = f"_{'_'.join(words_of(name))}_"
    for foreign in FOREIGN_NAMES:
        joined = joined.replace(f"_{foreign}_", "_")
    return [word for word in BANNED if f"_{word}_" in joined]


def problems(root: Path, places: tuple[str, ...]) -> list[Problem]:
    """Return what is wrong with the words of the Python files at these places: files, folders or patterns."""
    paths = {path for place in places for path in _files(root, place)}
    return sorted({problem for path in paths for problem in _problems_of(path, path.relative_to(root).as_posix())})


def _files(root: Path, place: str) -> Iterator[Path]:
    for path in sorted(root.glob(place)):
        yield from path.rglob("*.py") if path.is_dir() else (path,)


def _problems_of(path: Path, shown: str) -> Iterator[Problem]:
    text = path.read_text("utf-8")
    tree = ast.parse(text, shown)
    names = [("file", path.stem, 1), *_names(tree)]
    for kind, name, line in names:
        for word in banned_words(name):
            if not _is_allowed(shown, name):
                yield Problem(shown, line, f"{kind} `{name}` has the word `{word}`. Write {BANNED[word]} instead.")
    for kind, line, docstring in _docstrings(tree):
        if kind != "class":
            yield from _opening(shown, kind, line, docstring)
        yield from _people(shown, line, docstring)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield from _people(shown, token.start[0], token.string)


def _is_allowed(path: str, name: str) -> bool:
    places = {path, *(parent.as_posix() for parent in Path(path).parents)}
    return any((place, allowed) in ALLOWED for place in places for allowed in (name, "*"))


def _opening(path: str, kind: str, line: int, docstring: str) -> Iterator[Problem]:
    """Reject a docstring whose first word is no command: a question, an article, or a word that ends in s.

    A module may be about a thing ("Fixtures of several tests"), but not describe itself ("Runs the tests").
    """
    text = docstring.strip()
    match = _FIRST_WORD.match(text)
    word = match[0] if match else ""
    is_module = kind == "the module"
    if (
        word.lower() in QUESTIONS
        or (re.search(r"[^s]s$", word) and not (is_module and text.startswith(f"{word} of ")))
        or (text.startswith("The module") if is_module else word.lower() in THINGS)
    ):
        yield Problem(
            path,
            line,
            f"the docstring of {kind} opens with `{word}`. Open it with what it does, as a command: "
            "`Return ...`, `Write ...`, `Reject ...`.",
        )


def _people(path: str, line: int, text: str) -> Iterator[Problem]:
    for match in _PEOPLE.finditer(text):
        word = match[0].lower()
        yield Problem(path, line + text.count("\n", 0, match.start()), f"`{word}`: write {PEOPLE[word]}.")


def _docstrings(tree: ast.Module) -> Iterator[tuple[str, int, str]]:
    """Yield each docstring with what it belongs to and its line."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node, clean=False)
            if docstring:
                name = "the module" if isinstance(node, ast.Module) else f"`{node.name}`"
                kind = "class" if isinstance(node, ast.ClassDef) else name
                yield kind, node.body[0].lineno, docstring


def _names(tree: ast.Module) -> Iterator[tuple[str, str, int]]:
    """Yield kind, name and line of each name that a reader meets away from the line where it was made."""
    yield from _assigned(tree, "constant")
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield "class", node.name, node.lineno
            yield from _assigned(node, "attribute")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield "function", node.name, node.lineno
            for argument in _arguments(node.args):
                yield "parameter", argument.arg, argument.lineno
            yield from _long_lived(node)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield "attribute", node.attr, node.lineno
        elif isinstance(node, ast.alias) and node.asname:
            yield "import", node.asname, node.lineno


def _arguments(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from (argument for argument in (arguments.vararg, arguments.kwarg) if argument)


def _assigned(scope: ast.AST, kind: str) -> Iterator[tuple[str, str, int]]:
    """Yield the names that are assigned in a scope itself, not in functions and classes inside it."""
    for child in ast.iter_child_nodes(scope):
        if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield kind, child.id, child.lineno
        elif isinstance(child, ast.ExceptHandler) and child.name:
            yield kind, child.name, child.lineno
        yield from _assigned(child, kind)


def _long_lived(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, str, int]]:
    """Yield the variables of a function whose first and last use lie further apart than a short life."""
    lines: dict[str, list[int]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Name):
            lines.setdefault(node.id, []).append(node.lineno)
    for name in {name for _, name, _ in _assigned(function, "variable")}:
        uses = lines.get(name, [0])
        if max(uses) - min(uses) >= SHORT_LIFE_LINES:
            yield "variable", name, min(uses)


def main() -> int:
    """Print the problems of each room. Return 1 when there are any."""
    answer = {room: problems(ROOT, places) for room, places in ROOMS.items()}
    for room, listed in answer.items():
        print(*listed, f"{room}: {len(listed)} problems", sep="\n")
    return int(any(answer.values()))


if __name__ == "__main__":
    sys.exit(main())
