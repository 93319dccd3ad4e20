# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read from the text of a unit file which version of a program it runs, with which packages and which database."""

from __future__ import annotations

import re

#: Below the directory of programs of a service: the environments of all versions.
_ENVIRONMENTS = "venvs"
_DATABASE = re.compile(r"--database-url\s+sqlite:///(/\S+)")


def find_programs(unit: str, base: str) -> frozenset[str]:
    """Return the version directories and environments that a unit file's commands name."""
    pattern = re.compile(rf"{re.escape(base)}/((?:{_ENVIRONMENTS}/)?[^/\s]+)/")
    return frozenset(pattern.findall(_commands(unit)))


def find_version(unit: str, base: str) -> str:
    """Return the name of the version directory that a unit file's commands name, or an empty string."""
    names = sorted(one for one in find_programs(unit, base) if "/" not in one)
    return names[0] if names else ""


def find_database(unit: str) -> str:
    """Return the path of the SQLite database that a unit file's commands name, or an empty string."""
    match = _DATABASE.search(_commands(unit))
    return match[1] if match else ""


def _commands(unit: str) -> str:
    """Return the lines of ``ExecStart=``, joined."""
    joined = unit.replace("\\\n", " ")
    return "\n".join(line for line in joined.splitlines() if line.startswith("ExecStart="))
