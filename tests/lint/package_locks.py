# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the locks with the requirements in the pyproject files that they were resolved from.

    python tests/lint/package_locks.py

A lock has every requirement, in an allowed version, for each Python that NoSlop supports. Each package has hashes, and
no line names an index: the packages come from the index that pip is set up with.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
ADVICE = "run `make lock` and commit what it changed"

_BLOCK = re.compile(r"(?m)^[A-Za-z0-9].*\n(?:[ \t].*\n)*")


@dataclass(frozen=True)
class Lock:
    """A lock and what it was resolved from: pyproject files, each with the names of its extras."""

    path: str
    sources: tuple[tuple[str, tuple[str, ...]], ...]


LOCKS = (
    Lock(
        "requirements-dev.lock", (("pyproject.toml", ("dev", "templates")), ("backend/pyproject.toml", ("postgresql",)))
    ),
    Lock("backend/noslop_backend/requirements.lock", (("backend/pyproject.toml", ("postgresql",)),)),
)


def blocks_of(text: str) -> list[str]:
    """Return the entries of a lock: each with its hashes, on several lines."""
    return _BLOCK.findall(text)


def problems(root: Path, lock: Lock) -> list[str]:
    """Return what a lock lacks, and what it must not contain."""
    text = (root / lock.path).read_text("utf-8")
    pins = [Requirement(block.splitlines()[0].removesuffix("\\")) for block in blocks_of(text)]
    missing = [
        f"{lock.path} has no {requirement} of {source} for Python {', '.join(pythons)}: {ADVICE}"
        for source, requirement in _requirements(root, lock)
        if (pythons := [python for python in PYTHONS if not _is_locked(requirement, pins, python)])
    ]
    unhashed = [
        f"{lock.path}: {block.split()[0]} has no hash: {ADVICE}"
        for block in blocks_of(text)
        if "--hash=sha256:" not in block
    ]
    addresses = [
        f"{lock.path}:{number}: names an address; a lock names no index"
        for number, line in enumerate(text.splitlines(), 1)
        if "://" in line or "index-url" in line
    ]
    return [*missing, *unhashed, *addresses]


def _requirements(root: Path, lock: Lock) -> Iterator[tuple[str, Requirement]]:
    for source, extras in lock.sources:
        project = tomllib.loads((root / source).read_text("utf-8"))["project"]
        lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
        yield from ((source, Requirement(wanted)) for wanted_list in lists for wanted in wanted_list)


def _is_locked(requirement: Requirement, pins: list[Requirement], python: str) -> bool:
    """Return whether an allowed version is pinned for this Python, or nothing has to be."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    if requirement.marker and not requirement.marker.evaluate(environment):
        return True
    versions = [
        str(pin.specifier).removeprefix("==")
        for pin in pins
        if canonicalize_name(pin.name) == canonicalize_name(requirement.name)
        and (pin.marker is None or pin.marker.evaluate(environment))
    ]
    return bool(versions) and all(requirement.specifier.contains(version, prereleases=True) for version in versions)


def main() -> int:
    """Print the problems of each lock. Return 1 when there are any."""
    listed = [problem for lock in LOCKS for problem in problems(ROOT, lock)]
    print(*listed, sep="\n", end="\n" if listed else "")
    return int(bool(listed))


if __name__ == "__main__":
    sys.exit(main())
