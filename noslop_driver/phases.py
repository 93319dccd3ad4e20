# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the phases of a deployment in order: each can be run again, and one that fails stops the later ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from noslop_driver.ansible.events import Event, Failure, Outcome, Status
from noslop_driver.ansible.runner import run_playbook
from noslop_driver.errors import ExitCode
from noslop_driver.hosts import ssh_errors
from noslop_driver.inventory.directory import Member
from noslop_driver.models import Candidate
from noslop_driver.output.progress import Report, short, show_checks
from noslop_driver.output.terminal import Terminal
from noslop_driver.records import Record
from noslop_driver.secrets import Secrets


@dataclass(frozen=True)
class Phase:
    """One playbook of a deployment."""

    name: str
    title: str
    playbook: str
    code: ExitCode = ExitCode.FAILED
    """How the command ends when a task of it fails."""
    changes: bool = True
    """Whether it changes anything on the hosts."""
    proves: bool = False
    """Whether its checks are the verification of the studio."""


PREFLIGHT = Phase(
    "preflight",
    "looking for problems before anything is changed",
    "noslop.studio.preflight",
    ExitCode.PREFLIGHT,
    changes=False,
)
STORAGE = Phase("storage", "sharing the storage", "noslop.studio.storage")
CONFIGURE = Phase("configure", "configuring the hosts", "noslop.studio.configure")
SERVICES = Phase("services", "installing Ollama, ComfyUI and the backend", "noslop.studio.services")
VERIFY = Phase("verify", "proving that it works", "noslop.studio.verify", changes=False, proves=True)
TEARDOWN = Phase("teardown", "taking away what was installed", "noslop.studio.teardown")

RELEASE = "noslop.studio.release_lease"

DEPLOYMENT = (PREFLIGHT, STORAGE, CONFIGURE, SERVICES, VERIFY)
PREDICTION = (PREFLIGHT, STORAGE, CONFIGURE, SERVICES)
"""What `--check` runs: what is not there yet cannot be proven to work."""


@dataclass
class Result:
    """How a run of phases ended."""

    code: ExitCode = ExitCode.OK
    message: str = ""
    """What failed where, and the next step; empty when all went well."""
    phases: list[dict[str, Any]] = field(default_factory=list)
    verification: dict[str, Any] | None = None
    kept: dict[str, list[str]] = field(default_factory=dict)
    """Host to what a teardown left there because it was not the studio's."""

    def keep(self, host: str, names: Sequence[object]) -> None:
        """Note what was left on a host, each thing once."""
        known = self.kept.setdefault(host, [])
        known += [str(name) for name in names if str(name) not in known]


@dataclass(frozen=True)
class Deployer:
    """Runs phases on an inventory."""

    terminal: Terminal
    inventory: Path
    members: Sequence[Member]
    secrets: Secrets
    record: Record | None
    again: str
    """The command to run after something was put right."""
    check: bool = False
    limit: str | None = None
    release: str = RELEASE
    """The playbook that releases the lease after a failure."""

    def run(self, phases: Sequence[Phase]) -> Result:
        """Run the phases until one fails."""
        result = Result()
        for number, phase in enumerate(phases, 1):
            title = f"{number}/{len(phases)} {phase.name}: {phase.title}"
            outcome, checks, seconds = self._run(phase, title, result)
            result.phases.append(
                {
                    "phase": phase.name,
                    "status": outcome.status.value,
                    "changed": outcome.changed,
                    "seconds": round(seconds, 1),
                    "hosts": {host: vars(stats) for host, stats in outcome.stats.items()},
                    "failures": [vars(failure) for failure in outcome.failures],
                }
            )
            if self.record:
                self.record.phase(phase.name, outcome, seconds)
            if checks and phase.proves:
                result.verification = checks
                if self.record:
                    self.record.verification(checks)
            result.code = _code(phase, outcome, checks)
            if result.code is not ExitCode.OK:
                result.message = self._message(phase, outcome, checks, phases[number:])
                # Where something may still run, others have to wait.
                if phase.changes and not self.check and not outcome.left_running:
                    # What failed did not come to its end, where it releases the lease on the storage server. Where that
                    # fails too, the lease ends with this process for this computer, and after two hours for others.
                    run_playbook(self.release, self.inventory, secrets=self.secrets)
                break
        return result

    def _run(self, phase: Phase, title: str, result: Result) -> tuple[Outcome, dict[str, Any] | None, float]:
        report = Report(self.terminal, self._advice)
        checks: dict[str, Any] = {}
        said_again: set[tuple[str, str]] = set()

        def follow(event: Event) -> None:
            report.event(event)
            if self.record:
                self.record.event(phase.name, event)
            if event.kind == "failed" and checks:
                said_again.add((event.host, event.task))
            if isinstance(found := event.result.get("report"), dict) and isinstance(found.get("checks"), list):
                checks.update(found)
            if event.kind == "ok" and event.host and isinstance(kept := event.result.get("kept"), list):
                result.keep(event.host, kept)

        begun = time.monotonic()
        report.begin(title)
        try:
            outcome = run_playbook(
                phase.playbook,
                self.inventory,
                on_event=follow,
                on_interrupt=report.note,
                secrets=self.secrets,
                limit=self.limit,
                check=self.check,
                after_kill=self.release if phase.changes and not self.check else "",
            )
        finally:
            report.close()
        # A task that fails because of what the checks say only says it again: they are shown as a table.
        failures = [failure for failure in outcome.failures if (failure.host, failure.task) not in said_again]
        outcome = replace(outcome, failures=failures)
        report.end(outcome)
        if self.check and phase.changes:
            checks.clear()  # what was only predicted cannot be proven
        if checks:
            show_checks(checks["checks"], self.terminal)
        return outcome, checks or None, time.monotonic() - begun

    def _advice(self, failure: Failure) -> str:
        """The next step, where what Ansible said is known."""
        member = next((member for member in self.members if member.name == failure.host), None)
        if member is None:
            return ""
        candidate = Candidate(address=member.address, port=member.port, hostname=member.name, status="open")
        problem = ssh_errors.explain(member.name, candidate, member.user, failure.message)
        return problem.todo if failure.unreachable or problem.kind.startswith("sudo") else ""

    def _message(self, phase: Phase, outcome: Outcome, checks: dict[str, Any] | None, later: Sequence[Phase]) -> str:
        rest = f" Not run: {', '.join(other.name for other in later)}." if later else ""
        done = "Nothing was changed." if self.check or not phase.changes else "What is done stays done."
        if outcome.status is Status.INTERRUPTED:
            left = f" Tasks may still be running on {', '.join(outcome.left_running)}." if outcome.left_running else ""
            return f"Stopped in {phase.name}.{left}{rest} {done} Go on with {self.again}"
        if outcome.status is Status.ERROR:
            return f"Ansible could not run {phase.playbook}. It says: {outcome.output or 'nothing'}{rest}"
        if checks and not checks.get("ok") and not outcome.failures:
            failed = [check for check in checks["checks"] if not check.get("ok")]
            what = "1 check" if len(failed) == 1 else f"{len(failed)} checks"
            return f"{what} did not pass: see above what to do.{rest} {done} Then run {self.again}"
        hosts = "; ".join(
            f"{failure.host} ({'unreachable' if failure.unreachable else short(failure.task)})"
            for failure in outcome.failures
        )
        return f"{phase.name} failed: {hosts or 'see above'}.{rest} {done} Correct it and run {self.again}"


def _code(phase: Phase, outcome: Outcome, checks: dict[str, Any] | None) -> ExitCode:
    if outcome.status is Status.INTERRUPTED:
        return ExitCode.INTERRUPTED
    if checks is not None and not checks.get("ok"):
        return phase.code
    if outcome.ok:
        return ExitCode.OK
    if outcome.status is Status.UNREACHABLE:
        return ExitCode.UNREACHABLE
    return phase.code if outcome.status is Status.FAILED else ExitCode.FAILED
