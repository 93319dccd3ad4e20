# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the results of the checks that a host makes by itself: what is bad, since when, and what was announced.

One file of root's, which the host's program writes, and verification reads.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths

DIRECTORY = f"{studio.STATE_DIR}/check"
NAME = "status.json"
#: Version of the file's content. One of another version counts as absent.
VERSION = 1


@dataclass(frozen=True)
class Entry:
    """One check of one share, or of the host where ``share`` is empty.

    ``since`` is when it became ``ok`` or not, in seconds since 1970. ``bad_runs`` counts the runs in a row in which it
    failed, without those of a host that was starting or being changed. ``announced`` is whether the webhook was last
    informed that it is bad.
    """

    check: str
    share: str
    ok: bool
    since: float
    bad_runs: int
    announced: bool
    observed: str
    expected: str
    todo: str

    @property
    def key(self) -> tuple[str, str]:
        """Return what identifies the check."""
        return self.check, self.share


@dataclass(frozen=True)
class Hanging:
    """A process that was killed and has not ended, with its start in ticks since boot, and when it was started."""

    pid: int
    started: int
    since: float


@dataclass(frozen=True)
class Deliveries:
    """Attempts to reach the webhook in the last hour, in seconds since 1970; and how many failed in a row."""

    attempts: list[float] = field(default_factory=list)
    failures: int = 0
    error: str = ""


@dataclass(frozen=True)
class Status:
    """The result of the last run. ``phase`` is empty, ``starting`` or ``deploying``; ``boot`` is the host's start."""

    host: str
    studio_id: str
    boot: str
    finished: float
    duration_s: float
    phase: str
    checks: list[Entry]
    write_s: dict[str, float] = field(default_factory=dict)
    hanging: dict[str, Hanging] = field(default_factory=dict)
    deliveries: Deliveries = field(default_factory=Deliveries)

    @property
    def bad(self) -> list[Entry]:
        """Return what is bad."""
        return [entry for entry in self.checks if not entry.ok]


def read(directory: str = DIRECTORY) -> Status | None:
    """Return the result of the last run; None where there is none, or one that cannot be parsed."""
    try:
        with open(os.path.join(directory, NAME), encoding="utf-8") as stream:
            values: dict[str, Any] = json.load(stream)
        if values.pop("version") != VERSION:
            return None
        return Status(
            **{
                **values,
                "checks": [Entry(**entry) for entry in values["checks"]],
                "hanging": {part: Hanging(**one) for part, one in values["hanging"].items()},
                "deliveries": Deliveries(**values["deliveries"]),
            }
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write(status: Status, directory: str = DIRECTORY) -> None:
    """Write the result of a run, whole or not at all. The directory exists.

    Not synchronised: the next run replaces it, and a disk is not to be written to at once for it each half minute.
    """
    text = json.dumps({"version": VERSION, **asdict(status)}, indent=1) + "\n"
    descriptor = safe_paths.open_directory(directory)
    try:
        safe_paths.write_file(descriptor, NAME, text.encode(), os.geteuid(), os.getegid(), 0o600, sync=False)
    finally:
        os.close(descriptor)
