# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the states that rows go through. Each is stored as its value and checked by the database."""

from __future__ import annotations

from enum import StrEnum


class ProjectStatus(StrEnum):
    """The status that people give a project."""

    ACTIVE = "active"
    PAUSED = "paused"
    DONE = "done"
    ARCHIVED = "archived"


class ProjectState(StrEnum):
    """The state of a project in the backend: only a present one takes writes."""

    CREATING = "creating"
    PRESENT = "present"
    TRASHED = "trashed"
    PURGING = "purging"


class FileState(StrEnum):
    """Where a file is. A trashed one keeps its visible path in its row, and its bytes are still charged.

    `missing` is what reconcile calls a file that is gone from the share; its row stays until a person decides.
    """

    PRESENT = "present"
    TRASHED = "trashed"
    PURGING = "purging"
    MISSING = "missing"


class IntentOp(StrEnum):
    """What an intent is about to do; recovery goes by it."""

    CREATE_PROJECT = "create_project"
    UPDATE_PROJECT = "update_project"
    PURGE_PROJECT = "purge_project"
    IMPORT_PROJECT = "import_project"
    WRITE = "write"
    ADOPT = "adopt"
    PROMOTE = "promote"
    TRASH = "trash"
    RESTORE = "restore"
    PURGE = "purge"
    CLEANUP = "cleanup"
    TRANSFER = "transfer"


class IntentState(StrEnum):
    """An intent is open until what it set out to do is done, or undone."""

    OPEN = "open"
    DONE = "done"
    RELEASED = "released"


class TokenScope(StrEnum):
    """What a token allows; each allows what stands before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
