# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report what a run of reconcile found and did."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

#: So many findings are listed; all are counted.
LISTED = 1000


class What(StrEnum):
    """What reconcile sees, as it is kept between runs."""

    ADDED = "came"
    CHANGED = "changed"
    REMOVED = "went"
    #: A missing one is there again.
    BACK = "back"
    #: A mark, not a sighting: the content is not what was saved. It stays until it is again.
    ALTERED = "altered"


@dataclass(frozen=True)
class Finding:
    """One file, what became of it, and why."""

    project_id: str
    path: str
    #: taken_in, left, touched, altered, missing, back, stranger; with `dry_run` what it would become. At the top of the
    #: share (`project_id` is empty there): renamed, copy, unregistered, stranger, vanished, adopted. Of a project:
    #: ahead, caught_up. Of a first look: came, changed, went, back.
    outcome: str
    note: str = ""


@dataclass
class ReconcileReport:
    """Hold what one run found and did. `counts` is by outcome; `waiting_count` is seen once, or not long enough ago."""

    apply: bool
    resumed: bool = False
    projects_count: int = 0
    files_count: int = 0
    waiting_count: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    #: What `waiting_count` counts, as far as it is listed.
    waiting: list[Finding] = field(default_factory=list)
    #: Projects where so much went that an applying run would ask first.
    would_ask: list[str] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """Count something, and list it as long as there is room."""
        self.counts[finding.outcome] = self.counts.get(finding.outcome, 0) + 1
        if len(self.findings) < LISTED:
            self.findings.append(finding)

    def unresolved(self) -> bool:
        """Return whether the share has something that the database still misses, and that a later run may take in."""
        return bool(self.waiting_count or self.counts.get("unregistered") or self.counts.get("renamed"))

    def kept(self) -> dict[str, Any]:
        """Return what a run that continues needs of this one, as JSON."""
        return {
            "projects_count": self.projects_count,
            "files_count": self.files_count,
            "waiting_count": self.waiting_count,
            "counts": dict(self.counts),
            "findings": [asdict(each) for each in self.findings],
            "waiting": [asdict(each) for each in self.waiting],
            "would_ask": list(self.would_ask),
        }

    @classmethod
    def resumed_from(cls, kept: dict[str, Any], apply: bool) -> ReconcileReport:
        """Go on with a report."""
        values = kept | {
            "counts": dict(kept["counts"]),
            "findings": [Finding(**each) for each in kept["findings"]],
            # Runs that were killed by a version before have none.
            "waiting": [Finding(**each) for each in kept.get("waiting", ())],
            "would_ask": list(kept["would_ask"]),
        }
        return cls(apply=apply, resumed=True, **values)
