# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the lookup ``noslop.studio.program_files``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: program_files
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the files of a program that a host runs by itself
description:
  - Returns files of this collection's C(module_utils) - the named ones, and all that they import from there - for
    O(noslop.studio.managed_files#module:files). What a task does on a host, and what the host does by itself, is one
    code then.
  - Python runs the directory that they are written to where that has a C(__main__.py).
options:
  _terms:
    description: Names of files below C(module_utils) without their ending, like V(models/jobs).
    type: list
    elements: str
    required: true
  directory:
    description: Directory of the program on the host.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Install the program of the jobs of models
  noslop.studio.managed_files:
    files: "{{ lookup('noslop.studio.program_files', 'models/jobs', directory='/opt/noslop/models') }}"
"""

RETURN = r"""
_raw:
  description: The files, each with C(dest) and C(content), in the order of their paths.
  type: list
  elements: dict
"""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

PACKAGE = "ansible_collections.noslop.studio.plugins.module_utils"
DIRECTORY = Path(__file__).parents[1] / "module_utils"


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no types
    """Return the files of a program."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """Return one list in a list, so that ``lookup`` and ``query`` both keep it whole."""
        self.set_options(var_options=variables, direct=kwargs)
        try:
            return [make_files([str(term) for term in terms], self.get_option("directory"))]
        except ValueError as error:
            raise AnsibleError(str(error)) from error


def make_files(names: Sequence[str], directory: str) -> list[dict[str, str]]:
    """Return the path on the host and the text of each file of a program.

    Raises:
        ValueError: no file is named, or one that is not there.
    """
    missing = [name for name in names if not (DIRECTORY / f"{name}.py").is_file()]
    if missing or not names:
        raise ValueError(f"module_utils has no file {missing[0]}.py" if missing else "name a file of module_utils")
    package = "/".join((directory, *PACKAGE.split(".")))
    return [
        {"dest": f"{package}/{name}.py", "content": (DIRECTORY / f"{name}.py").read_text(encoding="utf-8")}
        for name in list_files(names)
    ]


def list_files(names: Iterable[str]) -> list[str]:
    """Return these files of ``module_utils`` and all that they import from there, sorted."""
    listed: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in listed:
            listed.add(name)
            left += _list_imports(DIRECTORY / f"{name}.py")
    return sorted(listed)


def _list_imports(path: Path) -> Iterator[str]:
    """Yield the files of ``module_utils`` that a file imports: modules, or names of a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{PACKAGE}."):
            base = str(node.module)[len(PACKAGE) + 1 :].replace(".", "/")
            for name in [base, *(f"{base}/{alias.name}".lstrip("/") for alias in node.names)]:
                if name and (DIRECTORY / f"{name}.py").is_file():
                    yield name
