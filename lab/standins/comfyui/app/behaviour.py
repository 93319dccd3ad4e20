# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define how the releases differ, by their versions. There is no other difference between their files."""

from __future__ import annotations

from dataclasses import dataclass, replace

from comfyui_version import __version__

# Each migration of the database, by its revision. The last one fails.
MIGRATIONS = {
    "0001_starts": "CREATE TABLE IF NOT EXISTS standin (started TEXT DEFAULT CURRENT_TIMESTAMP)",
    "0002_versions": "ALTER TABLE standin ADD COLUMN version TEXT",
    "0003_fails": "ALTER TABLE no_such_table ADD COLUMN version TEXT",
}


@dataclass(frozen=True)
class Behaviour:
    """The behaviour of one release."""

    revisions: tuple[str, ...] = ("0001_starts", "0002_versions")
    """The migrations that it has, the oldest first."""
    is_recent: bool = True
    """Whether it has /api/jobs, checks the ids of prompts, and has the flags of releases since 0.28."""
    answers: bool = True
    renders: bool = True


RECENT = Behaviour()
BY_VERSION = {
    "0.3.64": Behaviour(revisions=("0001_starts",), is_recent=False),
    "0.33.0": RECENT,
    "0.33.1": replace(RECENT, answers=False),
    "0.33.2": replace(RECENT, renders=False),
    "0.33.3": replace(RECENT, revisions=tuple(MIGRATIONS)),
}

behaviour = BY_VERSION[__version__]
