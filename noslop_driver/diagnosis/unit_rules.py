# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognise what is wrong with a unit, or with the process of its service."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import monitor_checks
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import enumerate_words
from ansible_collections.noslop.studio.plugins.module_utils.evidence.gather import BACKEND_JOBS

from noslop_driver.diagnosis.case import Case, HostCase
from noslop_driver.diagnosis.cause import Cause, Layer, PlaybookStep, Remedy, Risk, Scope, UnitState, UnitStep
from noslop_driver.diagnosis.evidence import Evidence, Port, Unit

#: systemd.exec(5), "Process Exit Codes": the program could not be run.
EXIT_EXEC = 203
LEAST_RESTARTS = 3


@dataclass(frozen=True)
class Watched:
    """A unit of a host that a studio needs, and the checks that fail without it."""

    host: HostCase
    name: str
    unit: Unit
    layer: Layer
    phase: str
    """The phase that installs it."""
    explains: Sequence[Scope]
    deploy: str
    """The command that deploys the studio."""
    port: Port | None = None


def find_unit_causes(case: Case) -> Iterator[Cause]:
    """Yield what is wrong with each unit that the studio needs, but those of shares."""
    for host, evidence in case.answered():
        for watched in _list_watched(case, host, evidence):
            yield from judge(watched, case.failures(host.name, *_check_names(watched)) != [])


def _check_names(watched: Watched) -> tuple[str, ...]:
    return tuple(name for scope in watched.explains for name in scope.checks)


def _list_watched(case: Case, host: HostCase, evidence: Evidence) -> Iterator[Watched]:
    own = frozenset({host.name})
    units = evidence.units
    server = units.get(studio.NFS_SERVER_UNIT)
    if server and case.is_server(host):
        scopes: tuple[Scope, ...] = (
            Scope(own, ("server.threads", "server.versions", "server.ports", "server.exports", "storage.")),
            Scope(None, ("storage.server", "storage.mounted", "storage.units", "storage.written", "storage.shared")),
            Scope(None, ("services.", "host.checks")),
        )
        yield Watched(host, studio.NFS_SERVER_UNIT, server, Layer.SERVER, "storage", scopes, case.deploy)
    for name, phase, layer, checks in (
        (studio.FIREWALL_UNIT, "storage", Layer.FIREWALL, ("firewall.",)),
        (studio.TLSHD_UNIT, "storage", Layer.SERVER, ("storage.",)),
        (studio.SMB_UNIT, "storage", Layer.SERVER, ("smb.",)),
        (monitor_checks.TIMER, "services", Layer.MODELS, ("host.monitor",)),
    ):
        if name in units:
            yield Watched(host, name, units[name], layer, phase, (Scope(own, checks),), case.deploy)
    for service, name in case.service_units(host).items():
        if name in units:
            peers = Scope(None, (f"services.{service}_peers",), mentions=host.name)
            scopes = (Scope(own, (f"services.{service}", "host.checks")), peers)
            port = evidence.ports.get(service)
            yield Watched(host, name, units[name], Layer.SERVICE, "services", scopes, case.deploy, port)
    for job in BACKEND_JOBS:
        name = f"noslop-backend-{job}.timer"
        if name in units:
            yield Watched(host, name, units[name], Layer.LATER, "services", (), case.deploy)


def judge(watched: Watched, fails: bool) -> Iterator[Cause]:
    """Yield the one cause of a unit that does not work, else what will hurt at its next start.

    Args:
        watched: the unit.
        fails: whether a check that it explains failed.
    """
    cause = _find_fault(watched, fails)
    if cause:
        yield cause
        return
    name, unit = watched.name, watched.unit
    if unit.program_missing and unit.active == "active":
        remedy = replace(_install_again(watched), works_now=True)
        what = f"{name} runs, but its program {unit.program} is gone: it will not start again"
        yield _make(watched, "unit.program_gone", what, remedy, layer=Layer.LATER)
    if _is_disabled(watched) and unit.active == "active":
        remedy = Remedy(f"systemctl enable {name}", Risk.NONE, (UnitStep(name, UnitState.ENABLED),))
        what = f"{name} runs, but is disabled: it will not start with the host"
        yield _make(watched, "unit.disabled", what, remedy, layer=Layer.LATER)
    if unit.drop_ins:
        what = f"{enumerate_words(unit.drop_ins)} changes {name}"
        remedy = Remedy(_describe_drop_ins(watched), Risk.DATA)
        yield _make(watched, "unit.drop_in", what, remedy, layer=watched.layer if fails else Layer.LATER)


def _find_fault(watched: Watched, fails: bool) -> Cause | None:
    """Return why a unit does not work now; None where it does."""
    causes = (find(watched, fails) for find in _FAULTS)
    return next((cause for cause in causes if cause), None)


def _is_disabled(watched: Watched) -> bool:
    return watched.unit.enabled == "disabled"


def _find_masked(watched: Watched, _fails: bool) -> Cause | None:
    if watched.unit.load != "masked":
        return None
    name = watched.name
    runtime = " --runtime" if watched.unit.enabled == "masked-runtime" else ""
    states = (UnitState.UNMASKED, UnitState.ENABLED, UnitState.STARTED)
    command = f"systemctl unmask{runtime} {name} && systemctl enable --now {name}"
    remedy = Remedy(command, Risk.NONE, [UnitStep(name, state) for state in states])
    return _make(watched, "unit.masked", f"{name} is masked, so nothing can start it", remedy)


def _find_removed(watched: Watched, _fails: bool) -> Cause | None:
    if watched.unit.load != "not-found":
        return None
    return _make(watched, "unit.removed", f"{watched.name} is not installed any more", _install_again(watched))


def _find_harmful_drop_in(watched: Watched, _fails: bool) -> Cause | None:
    """Return the cause of a unit that fails while a drop-in changes it: to install it again changes nothing."""
    unit = watched.unit
    ends = unit.sub == "auto-restart" or unit.active == "failed" or unit.status == EXIT_EXEC or unit.program_missing
    if not unit.drop_ins or unit.active == "active" or not ends:
        return None
    what = f"{watched.name} fails, and {enumerate_words(unit.drop_ins)} changes it"
    return _make(watched, "unit.drop_in", what, Remedy(_describe_drop_ins(watched), Risk.DATA))


def _find_missing_program(watched: Watched, _fails: bool) -> Cause | None:
    unit = watched.unit
    if unit.active == "active" or not (unit.status == EXIT_EXEC or unit.program_missing):
        return None
    what = f"the program of {watched.name} cannot be run: {unit.program or 'it'} is missing or no program"
    return _make(watched, "unit.program_missing", what, _install_again(watched))


def _find_used_port(watched: Watched, fails: bool) -> Cause | None:
    listeners = watched.port.listeners if watched.port else []
    others = [one for one in listeners if one.unit != watched.name]
    works = watched.unit.active == "active" and (not fails or len(others) < len(listeners))
    if watched.port is None or not others or works:
        return None
    programs = [f"process {one.pid} ({one.command}{f', {one.unit}' if one.unit else ''})" for one in others]
    what = f"port {watched.port.port} of {watched.name} is used by {enumerate_words(programs)}"
    # They are of others, so a person decides.
    stops = [f"systemctl disable --now {shlex.quote(one.unit)}" if one.unit else f"kill {one.pid}" for one in others]
    command = " && ".join([*dict.fromkeys(stops), f"systemctl restart {watched.name}"])
    return _make(watched, "unit.port_used", what, Remedy(command, Risk.RESTART, works_now=True))


def _find_crashes(watched: Watched, _fails: bool) -> Cause | None:
    name, unit = watched.name, watched.unit
    if unit.sub != "auto-restart" and (unit.active == "active" or unit.restarts < LEAST_RESTARTS):
        return None
    again = f" (restarted {unit.restarts} times)" if unit.restarts else ""
    what = f"{name} ends again and again{again}; its journal says why"
    again_remedy = _install_again(watched)
    command = f"journalctl -u {name} -n 50; then, if that does not say what to mend: {again_remedy.command}"
    return _make(watched, "unit.crashes", what, replace(again_remedy, command=command))


def _find_waiting_process(watched: Watched, fails: bool) -> Cause | None:
    name, unit = watched.name, watched.unit
    if unit.state == "T":
        remedy = Remedy(f"systemctl restart {name}", Risk.RESTART, (UnitStep(name, UnitState.RESTARTED),))
        what = f"process {unit.pid} of {name} was stopped by a signal (SIGSTOP), and answers nothing"
        return _make(watched, "unit.process_stopped", what, remedy)
    if unit.state == "D" and fails:
        command = (
            f"cat /proc/{unit.pid}/stack; journalctl -k -n 50; where no disk or share comes back, restart the host"
        )
        what = f"process {unit.pid} of {name} waits for the kernel (state D), such as for a disk or a share"
        return _make(watched, "unit.process_waits", what, Remedy(command, Risk.REBOOT, works_now=True))
    return None


def _find_stopped(watched: Watched, _fails: bool) -> Cause | None:
    name, unit = watched.name, watched.unit
    if unit.active in ("active", "activating", "reloading"):
        return None
    disabled = _is_disabled(watched)
    start = [*([UnitStep(name, UnitState.ENABLED)] if disabled else []), UnitStep(name, UnitState.STARTED)]
    because = f" ({unit.result})" if unit.active == "failed" and unit.result else ""
    what = (
        f"{name} {'failed' if unit.active == 'failed' else 'is stopped'}{because}{' and disabled' if disabled else ''}"
    )
    remedy = Remedy(f"systemctl {'enable --now' if disabled else 'start'} {name}", Risk.RESTART, start)
    return _make(watched, "unit.failed" if unit.active == "failed" else "unit.stopped", what, remedy)


_FAULTS = (
    *(_find_masked, _find_removed, _find_harmful_drop_in, _find_missing_program, _find_used_port),
    *(_find_crashes, _find_waiting_process, _find_stopped),
)


def _install_again(watched: Watched) -> Remedy:
    command = f"{watched.deploy} --limit {watched.host.name}"
    return Remedy(command, Risk.RESTART, (PlaybookStep(watched.phase),))


def _describe_drop_ins(watched: Watched) -> str:
    files = " ".join(shlex.quote(path) for path in watched.unit.drop_ins)
    return (
        f"rm {files} && systemctl daemon-reload && systemctl restart {watched.name}; what is to stay belongs into the "
        "inventory"
    )


def _make(watched: Watched, kind: str, what: str, remedy: Remedy, layer: Layer | None = None) -> Cause:
    unit = watched.unit
    states = [unit.load, f"{unit.active}/{unit.sub}" if unit.sub else unit.active, unit.enabled]
    evidence = [f"{watched.name}: {', '.join(filter(None, states))}"]
    evidence += [f"result {unit.result}, exit code {unit.status}"] if unit.result not in ("", "success") else []
    evidence += unit.journal[-4:]
    return Cause(
        kind,
        watched.host.name,
        watched.layer if layer is None else layer,
        what,
        evidence,
        remedy,
        watched.explains if layer is None or layer is watched.layer else (),
    )
