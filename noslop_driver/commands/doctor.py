# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out why a studio does not work, and mend what is safe to mend."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.noslop.studio.plugins.module_utils import studio as collection
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, enumerate_words

from noslop_driver.commands.diagnosis_view import make_cause_data, print_causes
from noslop_driver.commands.doctor_bundle import check_path, write_bundle
from noslop_driver.commands.doctor_fix import NOTHING, Fixed, compare, fix, print_fixes
from noslop_driver.commands.doctor_result import DoctorData
from noslop_driver.commands.login import read_login
from noslop_driver.commands.options import Options
from noslop_driver.commands.phase_run import make_run_data, run_phases
from noslop_driver.commands.result import CommandResult
from noslop_driver.commands.studio import find_studio, lock_studio
from noslop_driver.diagnosis.case import Case, HostCase
from noslop_driver.diagnosis.cause import Cause
from noslop_driver.diagnosis.diagnose import diagnose, works
from noslop_driver.diagnosis.evidence import read_evidence
from noslop_driver.errors import ExitCode
from noslop_driver.hosts import presence, ssh_errors, sudo
from noslop_driver.hosts.login import Login
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import EXAMINE, RunResult, list_unreachable
from noslop_driver.records import Record

BOUNDS = {"studio_verify_timeout": 5, "studio_verify_bound": 30, "studio_verify_evidence": True}
"""Variables with which a verification of all hosts, and its evidence, ends within a minute.

A share that does not answer is waited for briefly, and the checks of a host as a whole are bounded.
"""


@dataclass(frozen=True)
class Examination:
    """One verification, with the causes of what failed."""

    result: RunResult
    members: list[Member]
    record: Record
    login: Login
    """With the sudo password, if it was asked for."""
    causes: list[Cause]
    not_examined: Mapping[str, str]


def doctor(options: Options, terminal: Terminal) -> CommandResult:
    """Verify the studio, gather evidence, and print the causes of what failed; with `--fix`, mend what is safe."""
    studio = find_studio(inventory=options.inventory, name=options.studio, must_exist=True)
    if options.bundle:
        check_path(options.bundle)
    login = read_login(options, terminal)
    with lock_studio(studio, terminal):
        examination = examine(studio, login, terminal)
        print_causes(examination.causes, examination.not_examined, terminal)
        fixed = fix(examination.causes, examination.login, studio, terminal) if options.fix else NOTHING
        if fixed.tried:
            before = examination.causes
            examination = examine(studio, examination.login, terminal)
            print_causes(examination.causes, examination.not_examined, terminal)
            fixed = compare(fixed, before, examination.causes)
            print_fixes(fixed, terminal)
        data = make_data(examination, fixed, studio, options.bundle)
        code, message = _judge(examination)
        if options.bundle:
            write_bundle(
                options.bundle,
                {**data, "exit_code": int(code), "error": message or None},
                examination.record.path,
                studio,
                members=examination.members,
                secrets=examination.login.secrets,
            )
            terminal.print(f"Written without secrets: {options.bundle}. Addresses and names of hosts are in it.")
    return CommandResult(code, data, message)


def examine(studio: StudioDirectory, login: Login, terminal: Terminal) -> Examination:
    """Verify the studio once and find the causes; ask for the sudo password and begin anew where a host needs it.

    Raises:
        KeyboardInterrupt: the run was interrupted.
    """
    examination = _examine(studio, login, terminal)
    needing = [
        check["host"]
        for check in _list_failed(examination.result)
        if check["check"].startswith("host.") and ssh_errors.is_sudo_password_missing(check["seen"])
    ]
    if needing and not login.secrets.become_password and terminal.can_ask_password:
        login = replace(login, secrets=sudo.ask_for_password(needing, login.secrets, terminal, studio.path))
        examination = _examine(studio, login, terminal)
    return examination


def _examine(studio: StudioDirectory, login: Login, terminal: Terminal) -> Examination:
    record = Record(studio.records, "doctor", login.secrets)
    result, members = run_phases(
        "doctor", (EXAMINE,), studio, login=login, terminal=terminal, record=record, variables=BOUNDS
    )
    evidence, errors = read_evidence(result.evidence)
    silent = {member.name: "it returned no evidence" for member in members if member.name not in result.evidence}
    deploy = f"noslop-driver deploy --inventory {shlex.quote(str(studio.path))}"
    hosts = {
        member.name: HostCase(
            member.name, member.studio_address, member.user, member.port, member.groups, evidence.get(member.name)
        )
        for member in members
    }
    case = Case(hosts, *_read_storage(members), _list_failed(result), deploy)
    causes = diagnose(case) if result.verification else []
    record.write_diagnosis([dict(make_cause_data(cause)) for cause in causes], result.evidence)
    return Examination(result, members, record, login, causes, {**silent, **errors} if result.verification else {})


def _read_storage(members: Sequence[Member]) -> tuple[str, Sequence[collection.Share]]:
    """Return the provider and the shares by the server's variables; no shares where their paths are templates."""
    server = presence.find_server(members) or members[0]
    provider = str(server.variables.get("noslop_storage_provider") or collection.default_of("noslop_storage_provider"))
    try:
        return provider, collection.shares(server.variables)
    except ValueError:
        return provider, ()


def _list_failed(result: RunResult) -> list[Check]:
    return [check for check in result.verification["checks"] if not check["ok"]] if result.verification else []


def make_data(examination: Examination, fixed: Fixed, studio: StudioDirectory, bundle: Path | None) -> DoctorData:
    """Return the result of the command for `--json`."""
    return {
        **make_run_data(examination.result, studio, examination.record),
        "causes": [make_cause_data(cause) for cause in examination.causes],
        "not_examined": dict(examination.not_examined),
        "fixes": fixed.make_data(),
        "refused": [make_cause_data(cause) for cause in fixed.refused],
        "bundle": str(bundle) if bundle else None,
    }


def _judge(examination: Examination) -> tuple[ExitCode, str]:
    """Return the exit code, and the message for the user."""
    if examination.result.verification is None:
        return examination.result.code, examination.result.message
    if works(examination.causes):
        return ExitCode.OK, ""
    urgent = [cause for cause in examination.causes if cause.urgent]
    faults = "1 fault" if len(urgent) == 1 else f"{len(urgent)} faults"
    hosts = enumerate_words(dict.fromkeys(cause.host for cause in urgent))
    away = list_unreachable(_list_failed(examination.result))
    code = ExitCode.UNREACHABLE if away else ExitCode.FAILED
    return code, f"The studio does not work as it should: {faults} ({hosts}). Begin with the first one above."
