# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the phases of a deployment in order: each can be run again, and one that fails stops the later ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, enumerate_words
from ansible_collections.noslop.studio.plugins.plugin_utils import reports

from noslop_driver.ansible.events import TASK_END_KINDS, Event, Failure, HostStats, Outcome, Status
from noslop_driver.ansible.runner import run_playbook
from noslop_driver.errors import ExitCode
from noslop_driver.hosts import presence, ssh_errors
from noslop_driver.inventory.directory import Member
from noslop_driver.models import Endpoint
from noslop_driver.output.progress import Progress, print_checks, shorten_task_name
from noslop_driver.output.terminal import Terminal
from noslop_driver.records import Record
from noslop_driver.secrets import Secrets


@dataclass(frozen=True)
class Phase:
    """A playbook of a deployment."""

    name: str
    title: str
    playbook: str
    code: ExitCode = ExitCode.FAILED
    """The exit code of the command when a task fails."""
    changes: bool = True
    """True if the playbook changes hosts."""
    verifies: bool = False
    """True if the checks of the playbook are the verification of the studio."""
    tags: Sequence[str] = ()
    """Run the tasks with one of these tags only; all tasks if there are none."""
    limit: str = ""
    """The host pattern of the phase, in place of that of the run."""
    shows_checks: bool = True
    """False if the command prints in its own way what the checks of the playbook mean."""


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
NODES = Phase("nodes", "installing the custom nodes", "noslop.studio.services", tags=("nodes", "comfyui"))
UPGRADE = Phase("upgrade", "upgrading Ollama and ComfyUI, on one host first", "noslop.studio.services")
MODELS = Phase("models", "fetching the models", "noslop.studio.models")
MODELS_LOOK = Phase(
    "models", "looking at the share", "noslop.studio.models", changes=False, tags=("studio_models_files",)
)
MODELS_TRASH = Phase("models_trash", "looking at the models and their trash", "noslop.studio.models_trash")
WARM = Phase("warm", "reading the warm models into memory", "noslop.studio.models", tags=("model_jobs_warm",))
VERIFY = Phase("verify", "checking that the studio works", "noslop.studio.verify", changes=False, verifies=True)
EXAMINE = Phase(
    "verify",
    "checking the studio, and gathering what shows why a check failed",
    "noslop.studio.verify",
    changes=False,
    verifies=True,
    shows_checks=False,
)
REPAIR = Phase("repair", "starting and enabling what does not run", "noslop.studio.repair")
TEARDOWN = Phase("teardown", "removing what was installed", "noslop.studio.teardown")
MEMBERS = Phase(
    "members",
    "opening firewall and exports to the members, and to no other host",
    "noslop.studio.storage",
    tags=("studio_firewall", "nfs_server", "smb_server"),
)
REFERENCES = Phase(
    "references",
    "telling the backend and the hosts' own checks who is a member",
    "noslop.studio.services",
    tags=("studio_backend", "studio_monitor"),
)
DRAIN = Phase("drain", "waiting until nothing runs, then stopping the services", "noslop.studio.drain")
MOVE = Phase("move", "copying the storage, comparing it, and switching", "noslop.studio.move_storage")
MOVE_END = Phase("move_end", "starting what was stopped", "noslop.studio.move_storage")
MOVE_UNDO = Phase("move_undo", "giving the move up", "noslop.studio.move_storage")
START = Phase("start", "starting the services again", "noslop.studio.drain")

BENCH = Phase("bench", "reading models without and with memory", "noslop.studio.bench_models", changes=False)
DEDUPE = Phase("dedupe", "joining equal models", "noslop.studio.dedupe_models")
ADOPT = Phase("adopt", "copying models of a host to the share", "noslop.studio.adopt_models")

MODEL_ACTIONS = ("noslop.studio.model_files", "noslop.studio.ollama_models", "noslop.studio.model_trash")
"""The tasks that return models."""
RETURNING_ACTIONS = (
    "noslop.studio.model_duplicates",
    "noslop.studio.model_adoption",
    "noslop.studio.storage_move",
)
"""The tasks whose results a command reads."""

CHECK_ACTION = "noslop.studio.studio_check"
"""The task that returns the evidence of a host."""
WARM_ACTION = "noslop.studio.warm_models"
"""The task that returns what of models is in the memory of its host."""

RELEASE_LEASE = "noslop.studio.release_lease"

DEPLOYMENT = (PREFLIGHT, STORAGE, CONFIGURE, SERVICES, VERIFY)
UPGRADES = (PREFLIGHT, UPGRADE, VERIFY)
PREDICTION = (PREFLIGHT, STORAGE, CONFIGURE, SERVICES)
"""The phases of `--check`, without verification: what is not installed yet cannot be verified."""


class Report(TypedDict):
    """The report of the checks of a playbook, as the collection returns it."""

    version: NotRequired[int]
    ok: bool
    checks: list[Check]
    studio_id: NotRequired[str]
    finished: NotRequired[str]
    """ISO 8601, UTC."""


@dataclass(frozen=True)
class PhaseResult:
    """The result of one phase. Its fields are the keys in the output of `--json`."""

    phase: str
    status: Status
    changed: int
    """The number of changed tasks on all hosts."""
    seconds: float
    hosts: dict[str, HostStats]
    failures: list[Failure]


@dataclass
class RunResult:
    """The result of a run of phases."""

    code: ExitCode = ExitCode.OK
    message: str = ""
    """The failed hosts and tasks and the next step; empty if all phases succeeded."""
    phases: list[PhaseResult] = field(default_factory=list)
    verification: Report | None = None
    models: list[Mapping[str, Any]] = field(default_factory=list)
    """The models that were fetched or are there, as the hosts reported them."""
    warm: list[Mapping[str, Any]] = field(default_factory=list)
    """The bytes of models in memory, as the hosts reported it; each with `host`."""
    load_times: list[Mapping[str, Any]] = field(default_factory=list)
    """How long models took to read, as the hosts reported it; each with `host`."""
    returned: list[Mapping[str, Any]] = field(default_factory=list)
    """The results of the tasks in RETURNING_ACTIONS; each with `host`."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """The evidence of why checks failed, by host. It is text of other machines: anything may be in it."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Hosts that did not answer and were left out, each with the reason."""
    complete: bool = False
    """True if all phases succeeded on the other hosts."""
    kept: dict[str, list[str]] = field(default_factory=dict)
    """Things that a teardown kept because the studio does not own them, by host."""

    def add_kept(self, host: str, names: Sequence[object]) -> None:
        """Add what was left on a host, each name once."""
        kept = self.kept.setdefault(host, [])
        kept += [str(name) for name in names if str(name) not in kept]


@dataclass(frozen=True)
class PhaseRunner:
    """Run phases on an inventory."""

    terminal: Terminal
    inventory: Path
    members: Sequence[Member]
    secrets: Secrets
    record: Record | None
    retry_command: str
    """The command to run after the error was corrected."""
    check: bool = False
    limit: str | None = None
    away: Mapping[str, str] = field(default_factory=dict)
    """Hosts that do not answer, each with the reason. Only the verification looks at them, and reports them."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables that override the inventory's. No secrets."""
    phase_variables: Callable[[Phase], Mapping[str, Any]] = lambda _phase: {}
    """Returns variables for one phase, just before it begins. They win over `variables`."""
    details: Callable[[], Sequence[str]] | None = None
    """Returns lines about what the current task does."""
    release_playbook: str = RELEASE_LEASE
    """The playbook that releases the lease after a failure."""

    def run(self, phases: Sequence[Phase]) -> RunResult:
        """Run the phases until one fails."""
        result = self._run_phases(phases)
        result.complete = result.code is ExitCode.OK
        if self.away:
            result.left_out = self.away
            result.message = self._add_left_out(result)
            result.code = ExitCode.UNREACHABLE if result.complete else result.code
        return result

    def _run_phases(self, phases: Sequence[Phase]) -> RunResult:
        result = RunResult()
        for number, phase in enumerate(phases, 1):
            outcome, report, seconds = self._run_phase(phase, format_title(number, phases), result)
            result.phases.append(
                PhaseResult(
                    phase=phase.name,
                    status=outcome.status,
                    changed=outcome.changed,
                    seconds=round(seconds, 1),
                    hosts=outcome.stats,
                    failures=outcome.failures,
                )
            )
            if self.record:
                self.record.add_phase(phase.name, outcome, seconds)
            if report and phase.verifies:
                result.verification = report
                if self.record:
                    self.record.write_verification(report)
            result.code = _get_exit_code(phase, outcome, report, self.away)
            if result.code is not ExitCode.OK:
                result.message = self._compose_message(phase, outcome, report, phases[number:])
                # While a task may still run, the lease stays, so that other runs wait.
                if phase.changes and not self.check and not outcome.left_running:
                    # The failed playbook did not reach its end, where it releases the lease on the storage server. If
                    # this fails too, the lease ends with this process for this computer, and after two hours for
                    # others.
                    here = presence.exclude(None, self.away)
                    run_playbook(self.release_playbook, self.inventory, secrets=self.secrets, limit=here)
                break
        return result

    def _run_phase(self, phase: Phase, title: str, result: RunResult) -> tuple[Outcome, Report | None, float]:
        progress = Progress(self.terminal, self._find_advice, self.secrets, self.details)
        report: Report | None = None
        repeated: set[tuple[str, str]] = set()

        def follow(event: Event) -> None:
            nonlocal report
            progress.show_event(event)
            if self.record:
                self.record.write_event(phase.name, event)
            if event.kind == "failed" and report and not report["ok"]:
                repeated.add((event.host, event.task))
            report = _join_reports(report, cast("Report | None", reports.read_report(event.result)))
            if event.kind == "ok" and event.host and isinstance(kept := event.result.get("kept"), list):
                result.add_kept(event.host, kept)
            if event.action in MODEL_ACTIONS and event.kind in TASK_END_KINDS:
                result.models += event.result.get("models") or []
            if event.action == WARM_ACTION and event.kind in TASK_END_KINDS:
                result.warm += [{**row, "host": event.host} for row in event.result.get("warm") or []]
                result.load_times += [{**row, "host": event.host} for row in event.result.get("times") or []]
            if event.action == CHECK_ACTION and event.kind == "ok" and "evidence" in event.result:
                result.evidence[event.host] = event.result["evidence"]
            if event.action in RETURNING_ACTIONS and event.kind == "ok":
                result.returned.append({**event.result, "host": event.host})

        started = time.monotonic()
        progress.start_phase(title)
        try:
            outcome = run_playbook(
                phase.playbook,
                self.inventory,
                on_event=follow,
                on_interrupt=progress.print_note,
                on_output=progress.show_output,
                secrets=self.secrets,
                extra_vars={**self.variables, **self.phase_variables(phase)},
                limit=self._select_hosts(phase),
                tags=phase.tags,
                check=self.check,
                verbosity=self.terminal.verbosity,
                diff=self.terminal.diff,
                after_kill=self.release_playbook if phase.changes and not self.check else "",
            )
        finally:
            progress.close()
        # A task that fails because of failed checks only repeats them, and the table of checks shows them.
        failures = [failure for failure in outcome.failures if (failure.host, failure.task) not in repeated]
        outcome = replace(outcome, failures=failures)
        progress.end_phase(outcome)
        if self.check and phase.changes:
            report = None  # predicted changes cannot be checked
        if report and phase.shows_checks:
            print_checks(report["checks"], self.terminal)
        return outcome, report, time.monotonic() - started

    def _select_hosts(self, phase: Phase) -> str | None:
        """Return the host pattern of a phase. The verification reports hosts that are away; others leave them out."""
        limit = phase.limit or self.limit
        return limit if phase.verifies else presence.exclude(limit, self.away)

    def _find_advice(self, failure: Failure) -> str:
        """Return the next step for a failure, if its message is a known one."""
        member = next((member for member in self.members if member.name == failure.host), None)
        if member is None:
            return ""
        endpoint = Endpoint(name=member.name, address=member.address, port=member.port)
        problem = ssh_errors.explain(endpoint, member.user, failure.message)
        return problem.todo if failure.unreachable or problem.kind.startswith(("sudo", "become")) else ""

    def _compose_message(self, phase: Phase, outcome: Outcome, report: Report | None, later: Sequence[Phase]) -> str:
        rest = f" Not run: {', '.join(other.name for other in later)}." if later else ""
        done = "Nothing was changed." if self.check or not phase.changes else "What is done stays done."
        if outcome.status is Status.INTERRUPTED:
            left = f" Tasks may still be running on {', '.join(outcome.left_running)}." if outcome.left_running else ""
            return f"Stopped in {phase.name}.{left}{rest} {done} Continue with {self.retry_command}"
        if outcome.status is Status.ERROR:
            return f"Ansible could not run {phase.playbook}. Its message: {outcome.output or 'none'}{rest}"
        if report and not report.get("ok") and not outcome.failures:
            failed = [check for check in report["checks"] if not check.get("ok")]
            what = "1 check" if len(failed) == 1 else f"{len(failed)} checks"
            return f"{what} did not pass: see above what to do.{rest} {done} Then run {self.retry_command}"
        hosts = "; ".join(
            f"{failure.host} ({'unreachable' if failure.unreachable else shorten_task_name(failure.task)})"
            for failure in outcome.failures
        )
        return f"{phase.name} failed: {hosts or 'see above'}.{rest} {done} Correct it and run {self.retry_command}"

    def _add_left_out(self, result: RunResult) -> str:
        """Return the message of a run with the hosts that were left out, and the command that continues on them."""
        names = enumerate_words(sorted(self.away))
        if not result.complete:
            return f"{result.message} {names} did not answer, and nothing was done there."
        ran = {host for phase in result.phases for host in phase.hosts} - set(self.away)
        done = "Predicted for" if self.check else "Done on"
        others = enumerate_words(sorted(ran), "no host")
        reasons = " ".join(self.away.values())
        answers = "it answers" if len(self.away) == 1 else "they answer"
        return f"{done} {others}. Left out: {names}. {reasons} When {answers} again, run {self.retry_command}"


def format_title(number: int, phases: Sequence[Phase]) -> str:
    """Return the title of a phase by its number, from 1."""
    phase = phases[number - 1]
    return f"{number}/{len(phases)} {phase.name}: {phase.title}"


def _join_reports(first: Report | None, second: Report | None) -> Report | None:
    """Return one report of the checks of a phase: a playbook may prove the storage and then verify it."""
    if first is None or second is None:
        return first or second
    return {**second, "ok": first["ok"] and second["ok"], "checks": [*first["checks"], *second["checks"]]}


def list_unreachable(checks: Sequence[Check]) -> list[str]:
    """Return the hosts that did not answer, if every other check passed; none if another one failed."""
    failed = [check for check in checks if not check.get("ok")]
    if any(check["check"] != "host.reachable" for check in failed):
        return []
    return list(dict.fromkeys(check["host"] for check in failed))


def _get_exit_code(phase: Phase, outcome: Outcome, report: Report | None, away: Collection[str]) -> ExitCode:
    if outcome.status is Status.INTERRUPTED:
        return ExitCode.INTERRUPTED
    failures = [failure for failure in outcome.failures if not (failure.unreachable and failure.host in away)]
    if report and not report.get("ok"):
        unreachable = set(list_unreachable(report["checks"]))
        return ExitCode.OK if unreachable and unreachable <= set(away) and not failures else phase.code
    if outcome.ok:
        return ExitCode.OK
    if outcome.status is Status.UNREACHABLE:
        return ExitCode.UNREACHABLE if failures or not away else ExitCode.OK
    return phase.code if outcome.status is Status.FAILED else ExitCode.FAILED
