# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep what jobs remember between their runs."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from sqlmodel import Session

from noslop_backend.models import JobModel

#: The job that may ask.
RETENTION = "retention"
#: Where its state holds what it asks of a person.
_QUESTIONS = "questions"
#: The generation of the database, and where its state holds why it is older than the share.
GENERATION = "generation"
#: The adoption of a project's folder; while it is at work its state names the project.
ADOPTION = "adopt_project"
BEHIND = "behind"
#: Where the state of `events` holds the name of this history of changes.
EVENTS = "events"
STREAM = "stream"


class JobRepository:
    """Statements on `job`."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def get(self, name: str) -> JobModel:
        """Return what a job remembers; nothing, for one that never ran."""
        return self.session.get(JobModel, name) or JobModel(name=name)

    def remember(self, name: str, moment: datetime, state: dict[str, Any] | None = None) -> None:
        """Record that a job ran, and what it remembers for its next run."""
        row = self.get(name)
        row.last_run_at = moment
        if state is not None:
            row.state = state
        self.session.add(row)
        self.session.flush()

    def ask(self, name: str, questions: list[str]) -> None:
        """Write down what a job wants a person to decide, in place of what it wanted before."""
        row = self.get(name)
        row.state = {**row.state, _QUESTIONS: questions}
        self.session.add(row)
        self.session.flush()

    def questions(self) -> list[str]:
        """Return what a person has to decide."""
        behind = self.behind()
        asked = [str(question) for question in self.get(RETENTION).state.get(_QUESTIONS, [])]
        return [behind, *asked] if behind else asked

    def unfinished_adoption(self) -> str:
        """Return the id of the project that is being adopted, or whose adoption was killed; empty for none."""
        return str(self.get(ADOPTION).state.get("project_id", ""))

    def behind(self) -> str:
        """Return why the database is older than the share, and what to do about it; empty when it is not."""
        return str(self.get(GENERATION).state.get(BEHIND, ""))

    def stream(self) -> str:
        """Return the name of the history of changes that the database holds; empty before the first."""
        return str(self.get(EVENTS).state.get(STREAM, ""))

    def begin_stream(self) -> None:
        """Name the history of changes anew: numbers of the one before mean nothing any more."""
        row = self.get(EVENTS)
        row.state = {STREAM: new_stream()}
        self.session.add(row)
        self.session.flush()


def new_stream() -> str:
    """Return a name for a history of changes."""
    return secrets.token_hex(4)
