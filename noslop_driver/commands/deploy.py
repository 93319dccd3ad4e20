# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a studio, or update it."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

from noslop_driver.commands import open_addresses, second_run, smb_access
from noslop_driver.commands.draft import PlanDraft, confirm_plan, draft_plan, find_blocking_error, write_inventory
from noslop_driver.commands.login import read_login
from noslop_driver.commands.options import Options
from noslop_driver.commands.phase_run import make_run_data, run_phases
from noslop_driver.commands.result import (
    BlockedPlanData,
    CommandResult,
    DeployData,
    list_service_addresses,
)
from noslop_driver.commands.studio import find_studio, lock_studio
from noslop_driver.hosts import sudo
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import DEPLOYMENT, PREDICTION
from noslop_driver.planning import view
from noslop_driver.records import Record
from noslop_driver.secrets import private_directory


def deploy(options: Options, terminal: Terminal) -> CommandResult:
    """Make the studio, or update it."""
    studio = find_studio(inventory=options.inventory, name=options.studio, must_exist=False)
    login = read_login(options, terminal)
    with lock_studio(studio, terminal), contextlib.ExitStack() as stack:
        look = second_run.look_where_possible(options, studio, login, terminal)
        if look and look.is_enough:
            return second_run.finish(look, studio, terminal)
        login = look.login if look else login
        draft = draft_plan(options, studio, login, terminal)
        login = replace(login, secrets=draft.gathered.secrets)
        view.print_plan(draft.plan, terminal)
        draft = _confirm(draft, terminal, check=options.check)
        if error := find_blocking_error(draft.plan):
            blocked: BlockedPlanData = {"plan": draft.plan.model_dump(mode="json")}
            return CommandResult(error.code, blocked, str(error))
        copy = None
        if options.check:
            # The studio's own files stay as they are: the prediction runs on a copy.
            copy = _copy_studio(studio, stack.enter_context(private_directory("noslop-check-")))
        write_inventory(copy or studio, draft, login.ssh_key, terminal, announce=not options.check)
        if draft.new_hosts:
            pattern = ",".join(draft.new_hosts) + (f",&{options.limit}" if options.limit else "")
            secrets = sudo.ask_where_needed((copy or studio).path, login.secrets, terminal, pattern)
            login = replace(login, secrets=secrets)
        record = None if options.check else Record(studio.records, "deploy", login.secrets)
        if record:
            record.write_plan(draft.plan)
            if look:
                record.write_look(look.as_data())
        whole = not (options.check or options.limit or draft.gathered.away)
        result, members = run_phases(
            "deploy",
            PREDICTION if options.check else DEPLOYMENT,
            studio,
            login=login,
            terminal=terminal,
            record=record,
            limit=options.limit,
            away=draft.gathered.away,
            check=options.check,
            copy=copy,
            phase_variables=second_run.Recording(studio) if whole else lambda _phase: {},
        )
    addresses = list_service_addresses(members)
    smb_addresses = smb_access.list_addresses(draft.plan.settings, members)
    if result.complete and options.check:
        terminal.print("This is what a deployment would do. Nothing was changed.")
    elif result.complete:
        open_addresses.print_services(terminal, addresses, firewall_enabled=draft.plan.settings.firewall_enabled)
        open_addresses.print_shares(terminal, smb_addresses, [user["name"] for user in draft.plan.settings.smb_users])
    if record:
        terminal.print(f"Record: {record.path}")
    data: DeployData = {
        **make_run_data(result, studio, record),
        "plan": draft.plan.model_dump(mode="json"),
        "look": look.as_data() if look else None,
        "addresses": addresses,
        "smb_addresses": smb_addresses,
    }
    return CommandResult(result.code, data, result.message)


def _confirm(draft: PlanDraft, terminal: Terminal, *, check: bool) -> PlanDraft:
    """Have the plan confirmed, if hosts would be changed or get a password for the first time."""
    question = "Make the studio like this?"
    if check:
        question = f"Become root on {', '.join(draft.new_hosts)}, to predict what would be changed?"
    # A plan that is blocked can still be edited.
    if (draft.new_hosts or not check) and (terminal.interactive or not draft.plan.blocked):
        return confirm_plan(draft, terminal, question)
    return draft


def _copy_studio(studio: StudioDirectory, private: Path) -> StudioDirectory:
    copy = StudioDirectory(private / studio.name)
    if studio.path.is_dir():
        shutil.copytree(studio.path, copy.path, ignore=shutil.ignore_patterns("records", "cache", "lock"))
    return copy
