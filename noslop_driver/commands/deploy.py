# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a studio, or update it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from noslop_driver.cli.session import Options, open_session
from noslop_driver.commands.phase_run import make_result_data, run_phases
from noslop_driver.commands.result import CommandResult, list_service_addresses
from noslop_driver.errors import ExitCode
from noslop_driver.hosts import sudo
from noslop_driver.hosts.gather import GatheredHosts
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.models import Plan
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import DEPLOYMENT, PREDICTION
from noslop_driver.planning import view
from noslop_driver.planning.draft import confirm_plan, draft_plan, find_blocking_error, write_inventory
from noslop_driver.records import Record
from noslop_driver.secrets import private_directory


def deploy(options: Options, terminal: Terminal) -> CommandResult:
    """Make the studio, or update it."""
    with open_session(options, terminal, must_exist=False) as opened, contextlib.ExitStack() as stack:
        draft = draft_plan(opened)
        session = replace(opened, secrets=draft.gathered.secrets)
        view.print_plan(draft.plan, terminal)
        plan = draft.plan
        new = _list_new_hosts(plan, draft.gathered)
        question = "Make the studio like this?"
        if options.check:
            question = f"Become root on {', '.join(new)}, to predict what would be changed?"
        # A plan that is blocked can still be edited.
        if (new or not options.check) and (terminal.interactive or not plan.blocked):
            plan = confirm_plan(draft, session, question)
        if error := find_blocking_error(plan):
            return CommandResult(error.code, {"plan": plan.model_dump(mode="json")}, str(error))
        target = session.studio
        if options.check:
            # The studio's own files stay as they are: the prediction runs on a copy.
            target = _copy_studio(session.studio, stack.enter_context(private_directory("noslop-check-")))
        write_inventory(target, plan, draft.gathered, session)
        if new := _list_new_hosts(plan, draft.gathered):
            pattern = ",".join(new) + (f",&{options.limit}" if options.limit else "")
            session = sudo.ask_where_needed(session, target.path, pattern)
        record = None if options.check else Record(session.studio.records, "deploy", session.secrets)
        if record:
            record.write_plan(plan)
        phases = PREDICTION if options.check else DEPLOYMENT
        result, members = run_phases(phases, session, record, "deploy", target=target)
    addresses = list_service_addresses(members)
    if result.code is ExitCode.OK and options.check:
        terminal.print("This is what a deployment would do. Nothing was changed.")
    elif result.code is ExitCode.OK:
        _print_addresses(terminal, addresses, firewall_enabled=plan.settings.firewall_enabled)
    if record:
        terminal.print(f"Record: {record.path}")
    data = make_result_data(result, session.studio, record)
    return CommandResult(
        result.code, {**data, "plan": plan.model_dump(mode="json"), "addresses": addresses}, result.message
    )


def _list_new_hosts(plan: Plan, gathered: GatheredHosts) -> list[str]:
    """Return the names of the planned hosts that were not in the inventory before."""
    members = {member.name for member in gathered.members}
    return [host.name for host in plan.hosts if host.name not in members]


def _print_addresses(terminal: Terminal, addresses: Sequence[Mapping[str, str]], *, firewall_enabled: bool) -> None:
    if addresses:
        terminal.print("Open:")
    for address in addresses:
        terminal.print(f"  {address['url']}  ({address['service']} on {address['host']})")
    if addresses and not firewall_enabled:
        terminal.print("  The firewall is off, so each answers on its own host only, at 127.0.0.1.")


def _copy_studio(studio: StudioDirectory, private: Path) -> StudioDirectory:
    target = StudioDirectory(private / studio.name)
    if studio.path.is_dir():
        shutil.copytree(studio.path, target.path, ignore=shutil.ignore_patterns("records", "cache", "lock"))
    return target
