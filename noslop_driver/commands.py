# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each command does, from its options to its exit code and what `--json` prints."""

from __future__ import annotations

import contextlib
import getpass
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from noslop_driver import __version__, inventory, planning, proposal, studio_file, sudo
from noslop_driver.answer import Answer, service_addresses
from noslop_driver.deploy import DEPLOYMENT, PREDICTION, TEARDOWN, VERIFY, Deployer, Phase, Result
from noslop_driver.discovery import Discovery
from noslop_driver.errors import DriverError, ExitCode, UsageError
from noslop_driver.inventory import Member, StudioDirectory
from noslop_driver.models import Plan
from noslop_driver.options import Options, Session, open_session
from noslop_driver.record import Record
from noslop_driver.runner import list_inventory
from noslop_driver.secrets import Secrets, private_directory
from noslop_driver.status import status
from noslop_driver.survey import Survey, Surveyor
from noslop_driver.terminal import Terminal


def discover(options: Options, terminal: Terminal) -> Answer:
    """Find the machines; log in to none."""
    session = Session(options, terminal, Secrets(), StudioDirectory(Path()))
    found = Surveyor(session).discover()
    _show_found(found, terminal)
    message = "\n".join(f"{problem.what} {problem.todo}" for problem in found.problems)
    code = ExitCode.UNREACHABLE if found.problems else ExitCode.OK
    return Answer(code, found.model_dump(mode="json"), message)


def plan(options: Options, terminal: Terminal) -> Answer:
    """Look at the hosts and propose who does what; with `--save`, write it as an inventory."""
    save = options.save
    with open_session(options, terminal, must_exist=False) as session:
        proposed = planning.propose(session)
        proposal.show(proposed.plan, terminal)
        agreed = proposed.plan
        if save and terminal.interactive:
            agreed = planning.agree(proposed, session, f"Write this to {session.studio.path}?")
        data = {"plan": agreed.model_dump(mode="json"), "inventory": str(session.studio.path) if save else None}
        if error := planning.obstacle(agreed):
            return Answer(error.code, data, str(error))
        if save:
            planning.write(session.studio, agreed, proposed.survey, session)
    return Answer(ExitCode.OK, data)


def deploy(options: Options, terminal: Terminal) -> Answer:
    """Make the studio, or bring it up to date."""
    with open_session(options, terminal, must_exist=False) as opened, contextlib.ExitStack() as stack:
        proposed = planning.propose(opened)
        session = replace(opened, secrets=proposed.survey.secrets)
        proposal.show(proposed.plan, terminal)
        agreed = proposed.plan
        new = _new_hosts(agreed, proposed.survey)
        question = "Make the studio like this?"
        if options.check:
            question = f"Become root on {', '.join(new)}, to predict what would be changed?"
        # A person may edit a plan that cannot be carried out.
        if (new or not options.check) and (terminal.interactive or not agreed.blocked):
            agreed = planning.agree(proposed, session, question)
        if error := planning.obstacle(agreed):
            return Answer(error.code, {"plan": agreed.model_dump(mode="json")}, str(error))
        target = session.studio
        if options.check:
            # Nothing is written: the prediction runs on a copy of what would be.
            target = _copy(session.studio, stack.enter_context(private_directory("noslop-check-")))
        planning.write(target, agreed, proposed.survey, session)
        if new := _new_hosts(agreed, proposed.survey):
            pattern = ",".join(new) + (f",&{options.limit}" if options.limit else "")
            session = sudo.ask_where_wanted(session, target.path, pattern)
        record = None if options.check else Record(session.studio.records, "deploy", session.secrets)
        if record:
            record.plan(agreed)
        phases = PREDICTION if options.check else DEPLOYMENT
        result, members = _run(phases, session, record, "deploy", target=target)
    addresses = service_addresses(members)
    if result.code is ExitCode.OK and options.check:
        terminal.say("This is what a deployment would do. Nothing was changed.")
    elif result.code is ExitCode.OK:
        _tell_addresses(terminal, addresses, open_=agreed.wishes.firewall_enabled)
    if record:
        terminal.say(f"Record: {record.path}")
    data = _result(result, session.studio, record)
    return Answer(result.code, {**data, "plan": agreed.model_dump(mode="json"), "addresses": addresses}, result.message)


def verify(options: Options, terminal: Terminal) -> Answer:
    """Prove that the studio works; change nothing."""
    with open_session(options, terminal, must_exist=True) as opened:
        session = sudo.ask_where_wanted(opened, opened.studio.path, options.limit)
        record = Record(session.studio.records, "verify", session.secrets)
        result, _members = _run((VERIFY,), session, record, "verify")
    # A host that cannot be reached is a check that did not pass.
    if result.code is ExitCode.UNREACHABLE:
        result.code = ExitCode.FAILED
    return Answer(result.code, _result(result, session.studio, record), result.message)


def teardown(options: Options, terminal: Terminal) -> Answer:
    """Take away what was installed, and keep what people made."""
    with open_session(options, terminal, must_exist=True) as opened:
        studio = opened.studio
        wished = studio.wishes()
        if not options.check:
            terminal.say(f"This takes Ollama, ComfyUI, mounts, exports and rules off the hosts of {studio.path}.")
            terminal.say("Data, packages and the account noslop stay.")
            if not terminal.yes:
                typed = terminal.ask(f"Type the studio's name ({studio.name}) to go on", flag="--yes")
                if typed != studio.name:
                    raise UsageError(f"{typed!r} is not {studio.name!r}: nothing was changed.")
        session = sudo.ask_where_wanted(opened, studio.path, options.limit)
        record = None if options.check else Record(studio.records, "teardown", session.secrets)
        result, members = _run((TEARDOWN,), session, record, "teardown")
    kept = _kept(result, members, wished)
    if result.code is ExitCode.OK and not options.check:
        terminal.say("Kept:")
        for thing in [*kept, f"the inventory and the records in {studio.path}"]:
            terminal.say(f"  {thing}")
    return Answer(result.code, {**_result(result, studio, record), "kept": kept}, result.message)


def _run(
    phases: Sequence[Phase],
    session: Session,
    record: Record | None,
    command: str,
    *,
    target: StudioDirectory | None = None,
) -> tuple[Result, list[Member]]:
    """Run phases on the studio's inventory or a copy of it, and close the record however they end."""
    options, studio = session.options, session.studio
    path = (target or studio).path
    result = Result(ExitCode.FAILED, "The run ended before its end.")
    try:
        members = inventory.members(list_inventory(path), options.user or getpass.getuser())
        if record:
            record.inventory(members)
        result = Deployer(
            terminal=session.terminal,
            inventory=path,
            members=members,
            secrets=session.secrets,
            record=record,
            again=f"noslop-driver {command} --inventory {shlex.quote(str(studio.path))}",
            check=options.check,
            limit=options.limit,
        ).run(phases)
    except KeyboardInterrupt:
        result = Result(ExitCode.INTERRUPTED, "Stopped.")
        raise
    except DriverError as error:
        result = Result(error.code, str(error))
        raise
    finally:
        if record:
            record.finish(int(result.code), result.message, __version__)
    return result, members


def _new_hosts(agreed: Plan, survey: Survey) -> list[str]:
    """Return the names of those that were not in the inventory before."""
    before = {member.name for member in survey.members}
    return [host.name for host in agreed.hosts if host.name not in before]


def _result(result: Result, studio: StudioDirectory, record: Record | None) -> dict[str, Any]:
    return {
        "inventory": str(studio.path),
        "phases": result.phases,
        "verification": result.verification,
        "record": str(record.path) if record else None,
    }


def _kept(result: Result, members: Sequence[Member], wished: Mapping[str, Any]) -> list[str]:
    """What a teardown leaves: data, packages, the account, and what a role left because it is somebody else's."""
    kept = []
    if wished:
        server = ", ".join(member.name for member in members if "storage_server" in member.groups)
        shares = studio_file.validate({key: wished[key] for key in wished}, "studio.yml").shares()
        kept += [f"{share.path} on {server}" for share in shares]
    kept += ["the packages and the account noslop on every host"]
    kept += [f"{thing} on {host}" for host, things in result.kept.items() for thing in things]
    return list(dict.fromkeys(kept))


def _tell_addresses(terminal: Terminal, addresses: Sequence[Mapping[str, str]], *, open_: bool) -> None:
    if addresses:
        terminal.say("Open:")
    for address in addresses:
        terminal.say(f"  {address['url']}  ({address['service']} on {address['host']})")
    if addresses and not open_:
        terminal.say("  The firewall is off, so each answers on its own host only, at 127.0.0.1.")


def _show_found(found: Discovery, terminal: Terminal) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("address", "name", "SSH server", "host key"):
        table.add_column(heading)
    for candidate in found.candidates:
        where = candidate.address if candidate.port == 22 else f"{candidate.address}:{candidate.port}"
        table.add_row(*map(escape, (where, candidate.hostname or "", candidate.banner or "", candidate.host_key or "")))
    if found.candidates:
        terminal.out.print(table)
    for other in found.others:
        terminal.say(f"{other.hostname or other.address}: {other.detail} {other.todo}")


def _copy(studio: StudioDirectory, private: Path) -> StudioDirectory:
    target = StudioDirectory(private / studio.name)
    if studio.path.is_dir():
        shutil.copytree(studio.path, target.path, ignore=shutil.ignore_patterns("records", "cache", "lock"))
    return target


COMMANDS = {
    "discover": discover,
    "plan": plan,
    "deploy": deploy,
    "verify": verify,
    "status": status,
    "teardown": teardown,
}
"""The commands by their names on the command line."""
