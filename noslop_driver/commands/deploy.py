# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a studio, or bring it up to date."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from noslop_driver.cli.session import Options, open_session
from noslop_driver.commands.phase_run import phases_result, run_phases
from noslop_driver.commands.result import Answer, service_addresses
from noslop_driver.errors import ExitCode
from noslop_driver.hosts import sudo
from noslop_driver.hosts.gather import Survey
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.models import Plan
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import DEPLOYMENT, PREDICTION
from noslop_driver.planning import proposal, view
from noslop_driver.records import Record
from noslop_driver.secrets import private_directory


def deploy(options: Options, terminal: Terminal) -> Answer:
    """Make the studio, or bring it up to date."""
    with open_session(options, terminal, must_exist=False) as opened, contextlib.ExitStack() as stack:
        proposed = proposal.propose(opened)
        session = replace(opened, secrets=proposed.survey.secrets)
        view.show(proposed.plan, terminal)
        agreed = proposed.plan
        new = _new_hosts(agreed, proposed.survey)
        question = "Make the studio like this?"
        if options.check:
            question = f"Become root on {', '.join(new)}, to predict what would be changed?"
        # A person may edit a plan that cannot be carried out.
        if (new or not options.check) and (terminal.interactive or not agreed.blocked):
            agreed = proposal.agree(proposed, session, question)
        if error := proposal.obstacle(agreed):
            return Answer(error.code, {"plan": agreed.model_dump(mode="json")}, str(error))
        target = session.studio
        if options.check:
            # Nothing is written: the prediction runs on a copy of what would be.
            target = _copy(session.studio, stack.enter_context(private_directory("noslop-check-")))
        proposal.write(target, agreed, proposed.survey, session)
        if new := _new_hosts(agreed, proposed.survey):
            pattern = ",".join(new) + (f",&{options.limit}" if options.limit else "")
            session = sudo.ask_where_wanted(session, target.path, pattern)
        record = None if options.check else Record(session.studio.records, "deploy", session.secrets)
        if record:
            record.plan(agreed)
        phases = PREDICTION if options.check else DEPLOYMENT
        result, members = run_phases(phases, session, record, "deploy", target=target)
    addresses = service_addresses(members)
    if result.code is ExitCode.OK and options.check:
        terminal.say("This is what a deployment would do. Nothing was changed.")
    elif result.code is ExitCode.OK:
        _tell_addresses(terminal, addresses, open_=agreed.wishes.firewall_enabled)
    if record:
        terminal.say(f"Record: {record.path}")
    data = phases_result(result, session.studio, record)
    return Answer(result.code, {**data, "plan": agreed.model_dump(mode="json"), "addresses": addresses}, result.message)


def _new_hosts(agreed: Plan, survey: Survey) -> list[str]:
    """Return the names of those that were not in the inventory before."""
    before = {member.name for member in survey.members}
    return [host.name for host in agreed.hosts if host.name not in before]


def _tell_addresses(terminal: Terminal, addresses: Sequence[Mapping[str, str]], *, open_: bool) -> None:
    if addresses:
        terminal.say("Open:")
    for address in addresses:
        terminal.say(f"  {address['url']}  ({address['service']} on {address['host']})")
    if addresses and not open_:
        terminal.say("  The firewall is off, so each answers on its own host only, at 127.0.0.1.")


def _copy(studio: StudioDirectory, private: Path) -> StudioDirectory:
    target = StudioDirectory(private / studio.name)
    if studio.path.is_dir():
        shutil.copytree(studio.path, target.path, ignore=shutil.ignore_patterns("records", "cache", "lock"))
    return target
