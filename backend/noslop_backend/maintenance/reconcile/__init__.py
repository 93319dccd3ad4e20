# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the share with the database: find what was added, changed or removed without the backend.

A run walks every project and notes what differs from the rows (`compare_directory`). What two runs have noted alike,
a while apart, is applied: rows are made or marked (`apply_observation`), and only when the run was told to apply.
Nothing is ever deleted, and nothing is applied where the share is away, is another one, or cannot be listed. A run
that was killed continues where it was.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from sqlalchemy.exc import IntegrityError

from noslop_backend.core.database import clock
from noslop_backend.core.enums import ProjectState
from noslop_backend.core.errors import ConfirmationNeededError, InProgressError, NotFoundError
from noslop_backend.journal import audit
from noslop_backend.journal.catch_up import apply_ahead, read_ahead
from noslop_backend.maintenance.generation import resolve
from noslop_backend.maintenance.rebuild import adopt_project
from noslop_backend.maintenance.reconcile.apply import apply_observation
from noslop_backend.maintenance.reconcile.compare import compare_directory
from noslop_backend.maintenance.reconcile.report import LISTED, Finding, ReconcileReport, What
from noslop_backend.maintenance.root_entries import RootProblem, inspect_root
from noslop_backend.repositories import JobRepository, ProjectRepository
from noslop_backend.repositories.observations import ObservationRepository
from noslop_backend.services import ProjectStorage
from noslop_backend.share import layout, scan

__all__ = ["Finding", "ReconcileReport", "What", "reconcile"]

JOB = "reconcile"
#: Two runs have to lie so far apart for what both saw to be applied: longer than a client keeps attributes (nfs(5),
#: acregmax).
APART_S = 600.0
#: Fewer files than this may go without a question, whatever part of a project they are.
HANDFUL = 10
MOST_PERCENT = 20
_MARKS = (What.ALTERED,)
_NEVER = datetime.min.replace(tzinfo=UTC)
#: What is left of an older run says nothing about today's share.
_STALE = timedelta(days=1)


def reconcile(
    core: ProjectStorage,
    *,
    apply: bool = False,
    apart_s: float = APART_S,
    yes_really: bool = False,
    project_id: str | None = None,
    adopt_projects: bool = False,
) -> ReconcileReport:
    """Compare the share with the rows, once.

    A dry run (the default) notes what it sees, which counts as one of the two looks, and changes no row of a file.

    Args:
        core: the service.
        apply: change the database.
        apart_s: the first and the last look at a thing have to lie so far apart.
        yes_really: act even when more than a fifth of a project went.
        project_id: only this one; such a run is not gone on with by others.
        adopt_projects: take in projects whose folders the database does not have, whether `apply` or not.

    Raises:
        ConfirmationNeededError: more than a fifth of a project, and more than a handful, went. Nothing in it was
        changed.
        ShareUnavailableError: the share is away, is another one, or cannot be listed. Nothing more was believed.
        InProgressError: another run is at work.
    """
    run = _Run(core, apply, timedelta(seconds=apart_s), yes_really, project_id)
    run.adopt_projects = adopt_projects
    return run.go()


class _Run:
    """One run, or what is left of one that was killed."""

    def __init__(
        self, core: ProjectStorage, apply: bool, apart: timedelta, yes_really: bool, project_id: str | None
    ) -> None:
        self.core = core
        self.apply = apply
        self.apart = apart
        self.yes_really = yes_really
        self.adopt_projects = False
        self.only = project_id
        self.job = JOB if project_id is None else f"{JOB}:{project_id}"
        self.owner = secrets.token_hex(8)
        self.report = ReconcileReport(apply=apply)
        self.started = _NEVER
        self.renew_at = _NEVER
        #: What is done: projects up to this one, and so many places of the next; and the report of just that.
        self.after, self.places = "", 0
        self.done = self.report.kept()
        self.unsaved_count = 0

    def go(self) -> ReconcileReport:
        """Do it."""
        with self.core.share():
            pass
        self._begin()
        try:
            if self.only is None and not self.after and not self.places:
                self._root()
            for project_id in self._projects():
                self._project(project_id)
                self._checkpoint(project_id, 0)
                self._remember()
        except ConfirmationNeededError:
            # Whatever a person does about it: the next run looks anew.
            with self.core.database.write() as session:
                JobRepository(session).remember(self.job, clock(session), {})
            raise
        except BaseException:
            # The next run continues here, and does not wait for the lease.
            self._remember(leave=True)
            raise
        with self.core.database.write() as session:
            now = clock(session)
            JobRepository(session).remember(self.job, now, {})
            if self.apply and self.report.counts:
                audit.record(session, now, "reconcile", project_id=self.only, details=dict(self.report.counts))
        if self.apply and self.only is None and not self.report.unresolved():
            resolve(self.core)
        return self.report

    def _root(self) -> None:
        """Name what is at the top of the share and is no project, and take projects in that the database misses."""
        with self.core.share() as share:
            findings = inspect_root(self.core.database, share, self.core.litter)
        for each in findings:
            if self.adopt_projects and each.problem is RootProblem.UNREGISTERED:
                with self.core.share() as share:
                    problem = adopt_project(self.core, share, each.name, self._alive)
                outcome, note = ("left", problem) if problem else ("adopted", "")
                self.report.add(Finding("", each.name, outcome, note))
            else:
                self.report.add(Finding("", each.name, each.problem, each.note))

    def _catch_up(self, project_id: str) -> None:
        """Bring a project up to its metadata.json and the versions on the share, or report that they are newer."""
        with self.core.share() as share:
            ahead = read_ahead(self.core.context, share, project_id)
        if ahead and self.apply:
            apply_ahead(self.core.context, project_id, ahead)
        for line in ahead.describe():
            self.report.add(Finding(project_id, layout.METADATA, "caught_up" if self.apply else "ahead", line))

    def _projects(self) -> list[str]:
        with self.core.database.read() as session:
            if self.only is not None:
                project = ProjectRepository(session).get(self.only, ProjectState.PRESENT, ProjectState.TRASHED)
                return [project.id] if project.id > self.after else []
            # Not by the database's order: that is another one on each.
            everything = sorted(ProjectRepository(session).ids(ProjectState.PRESENT, ProjectState.TRASHED))
        return [each for each in everything if each > self.after]

    def _begin(self) -> None:
        """Take the job, or what is left of it."""
        try:
            with self.core.database.write() as session:
                jobs, now = JobRepository(session), clock(session)
                state = jobs.get(self.job).state
                left = (datetime.fromisoformat(state["lease"]) - now).total_seconds() if state else 0.0
                # One that ends later than its length from now was begun before the clock went back; if its owner lives
                # after all, it sees that and stops.
                if 0 < left <= self.core.settings.lease_s:
                    raise InProgressError(
                        f"Another reconcile is at work; it gives a sign of life within {left:.0f} s, or a new one "
                        "goes on with it "
                        "then. Start it again later.",
                        retry_after_s=left,
                    )
                self.started = now
                started = datetime.fromisoformat(state["started"]) if state else _NEVER
                if state and state["apply"] == self.apply and timedelta(0) <= now - started < _STALE:
                    self.started = started
                    self.after, self.places = state["after"], state["places"]
                    self.done = state["report"]
                    self.report = ReconcileReport.resumed_from(self.done, self.apply)
                jobs.remember(self.job, now, self._state(now))
        except IntegrityError as error:
            raise InProgressError("Another reconcile began just now.", retry_after_s=1.0) from error

    def _state(self, now: datetime, *, leave: bool = False) -> dict[str, object]:
        lease = timedelta(seconds=self.core.settings.lease_s)
        self.renew_at = now + lease / 3
        return {
            "owner": self.owner,
            "lease": (now if leave else now + lease).isoformat(),
            "started": self.started.isoformat(),
            "apply": self.apply,
            "after": self.after,
            "places": self.places,
            "report": self.done,
        }

    def _checkpoint(self, after: str, places: int) -> None:
        """Note how far this run is. It is saved now and then: a run that continues compares again what lies between."""
        self.unsaved_count += self.report.files_count - int(self.done["files_count"])
        self.after, self.places, self.done = after, places, self.report.kept()

    def _remember(self, *, leave: bool = False) -> None:
        with self.core.database.write() as session:
            jobs, now = JobRepository(session), clock(session)
            if jobs.get(self.job).state.get("owner") != self.owner:
                if leave:
                    return
                raise InProgressError(
                    "This run gave no sign of life for so long that another one went on with it.", retry_after_s=1.0
                )
            jobs.remember(self.job, now, self._state(now, leave=leave))
        self.unsaved_count = 0

    def _alive(self) -> None:
        with self.core.database.read() as session:
            now = clock(session)
        if now >= self.renew_at:
            self._remember()

    def _project(self, project_id: str) -> None:
        try:
            if not self.places:
                self._catch_up(project_id)
            for number, place in enumerate(scan.PLACES):
                if number < self.places:
                    continue
                # Opened anew each time: whether it is the right share is asked again.
                with self.core.share() as share:
                    if not number:
                        for name in scan.misplaced(share, project_id, self.core.litter):
                            self.report.add(Finding(project_id, name, "stranger", "the layout has no such name"))
                    compare_directory(
                        self.core.database,
                        share,
                        project_id,
                        place,
                        started=self.started,
                        litter=self.core.litter,
                        report=self.report,
                        alive=self._alive,
                    )
                self._checkpoint(self.after, number + 1)
                if self.unsaved_count >= scan.PIECE:
                    self._remember()
            with self.core.database.write() as session:
                ObservationRepository(session).forget_unseen(project_id, self.started, clock(session), _MARKS)
            self._believe(project_id)
        except NotFoundError:
            # Purged meanwhile.
            return
        self.report.projects_count += 1

    def _believe(self, project_id: str) -> None:
        self._ask(project_id)
        with self.core.database.read() as session:
            for path in ObservationRepository(session).marked(project_id, What.ALTERED, LISTED):
                self.report.add(Finding(project_id, path, "altered", "it was found altered before, and still is"))
        after, kept = "", 0
        while True:
            with self.core.database.read() as session:
                page = ObservationRepository(session).confirmed(project_id, self.apart, _MARKS, after)
            if not page:
                break
            # Whether it is the right share is asked again before each page.
            with self.core.share() as share:
                for observed in page:
                    finding = apply_observation(self.core, share, observed, apply=self.apply)
                    if finding is not None:
                        self.report.add(finding)
                        kept += not self.apply or finding.outcome == "left"
                    self._alive()
            after = page[-1].path
        with self.core.database.read() as session:
            observations = ObservationRepository(session)
            there = sum(observations.count(project_id, what) for what in What if what not in _MARKS)
            room = max(0, LISTED - len(self.report.waiting))
            waiting = observations.waiting(project_id, self.apart, _MARKS, room)
        self.report.waiting_count += there - kept
        self.report.waiting += [Finding(project_id, path, what) for path, what in waiting]

    def _ask(self, project_id: str) -> None:
        """Stop when so much went that it is more likely that something is wrong."""
        with self.core.database.read() as session:
            observations = ObservationRepository(session)
            removed, registered = (
                observations.count(project_id, What.REMOVED),
                observations.registered_count(project_id),
            )
        if removed <= HANDFUL or removed * 100 <= registered * MOST_PERCENT:
            return
        self.report.would_ask.append(project_id)
        if self.apply and not self.yes_really:
            raise ConfirmationNeededError(
                f"{removed} of {registered} files of {project_id} are not on the share any more. That is more than "
                f"{MOST_PERCENT} %: nothing in "
                "it was changed. See whether the share is whole (is everything mounted?). If they really were "
                "taken away, run "
                "it again with --yes-really; rows stay, marked as missing.",
                project_id=project_id,
                went_count=removed,
                registered_count=registered,
            )
