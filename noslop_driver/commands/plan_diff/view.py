# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show how a plan differs from a studio: the file of each change, the lines, and what a deployment would run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import enumerate_words
from rich.markup import escape

from noslop_driver.commands.draft import has_settings_elsewhere
from noslop_driver.commands.plan_diff.result import InventoryChangeData
from noslop_driver.commands.second_run import Look
from noslop_driver.hosts import presence
from noslop_driver.inventory import directory, places
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.models import Problem
from noslop_driver.output.redaction import Redaction, is_secret_name
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import DEPLOYMENT
from noslop_driver.planning.inventory_changes import Change, ChangeKind, format_side
from noslop_driver.planning.second_run import Decision, Need
from noslop_driver.secrets import Secrets

_CONNECTION_PREFIX = "ansible_"
_STUDIO_ID = "noslop_studio_id"
"""The variable that every studio has: where a user keeps it, others of the studio go too."""
_OTHER_FLAGS = frozenset({"--diff", "--exit-code", "--json", "--debug", "--verbose", "--no-input", "--yes"})
"""Flags of a comparison alone, or of how a command prints and asks: a command that is named lacks them."""


NOT_COMPARED = "not_compared"
"""The kind of the problem of a host on which the look itself failed, so that a deployment can go on there."""


@dataclass(frozen=True)
class HostState:
    """The hosts as they are, by one look at each."""

    look: Look
    by_answers: Decision
    """The need for a deployment, by the hosts that answered."""
    left_out: Mapping[str, Problem]
    """The hosts that could not be looked at."""


def place_change(
    change: Change, studio: StudioDirectory, members: Sequence[Member], secrets: Secrets
) -> InventoryChangeData:
    """Return a change with the file in which it stands or goes, and without secrets."""
    also_in: list[str] = []
    if change.host:
        file, by_hand = _place_host(change, studio, members)
    else:
        files = places.find_variable(studio.path, change.variable)
        connection = change.variable.startswith(_CONNECTION_PREFIX)
        elsewhere = not connection and has_settings_elsewhere(studio, members)
        own = directory.CONNECTION if connection else directory.STUDIO
        beside = places.find_variable(studio.path, _STUDIO_ID) if elsewhere else []
        file = next(iter((files if elsewhere else []) + beside), own)
        by_hand = elsewhere or studio.is_edited(file)
        also_in = [name for name in files if name != file]
    clean = Redaction(secrets).clean
    hidden = is_secret_name(change.variable)
    return {
        "kind": change.kind.value,
        "host": change.host,
        "variable": change.variable,
        "old": format_side(clean(change.old, hidden=hidden)),
        "new": format_side(clean(change.new, hidden=hidden)),
        "file": file,
        "also_in": also_in,
        "by_hand": by_hand,
    }


def _place_host(change: Change, studio: StudioDirectory, members: Sequence[Member]) -> tuple[str, bool]:
    """Return the file of a host, and whether a user has to write the change into it."""
    edited = studio.is_edited(directory.HOSTS)
    if not any(member.name == change.host for member in members):
        file = directory.MORE_HOSTS if edited else directory.HOSTS
        return file, edited and studio.is_edited(file)
    file = places.find_host(studio.path, change.host) or directory.HOSTS
    # The driver changes a variable of a host in any file; groups only in a file that it wrote.
    return file, edited and change.kind is not ChangeKind.VARIABLE


def print_changes(changes: Sequence[InventoryChangeData], studio: StudioDirectory, terminal: Terminal) -> None:
    """Print a line for each change, with its file."""
    if not changes:
        terminal.print(f"The inventory {studio.path} is what the plan would write.")
        return
    terminal.print(f"The plan changes the inventory {studio.path}:")
    for change in changes:
        notes = f" (also set in {', '.join(change['also_in'])})" if change["also_in"] else ""
        notes += " (by hand: the file is yours, and is not written)" if change["by_hand"] else ""
        line = f"{change['file']}: {_describe(change)}"
        terminal.print_markup(f"  {escape(line)}[yellow]{escape(notes)}[/]")


def _describe(change: InventoryChangeData) -> str:
    if change["kind"] == ChangeKind.HOST_ADDED:
        return f"{change['host']} is added ({change['new']})"
    if change["kind"] == ChangeKind.HOST_REMOVED:
        return f"{change['host']} is removed ({change['old']})"
    subject = " ".join(filter(None, (change["host"], change["variable"] or "does")))
    return f"{subject}: {change['old']} -> {change['new']}"


def summarize(
    hosts: Sequence[str],
    changes: Sequence[InventoryChangeData],
    state: HostState,
    obstacles: Sequence[Problem],
    deploy: str,
) -> str:
    """Return what a deployment would run and why, as a sentence with its command.

    Args:
        hosts: the names of the hosts of the plan.
        changes: the changes of the inventory.
        state: the hosts as they are.
        obstacles: the problems that prevent the deployment.
        deploy: the command.
    """
    if obstacles:
        problems = "the problem above is" if len(obstacles) == 1 else f"the {len(obstacles)} problems above are"
        return f"A deployment would change nothing before {problems} solved: {deploy}"
    stopping = _find_stopping(state)
    if stopping:
        return f"A deployment would change nothing, since {stopping} could not be looked at: {deploy}"
    reasons = []
    if changes:
        reasons.append(f"the plan changes {enumerate_words(dict.fromkeys(change['file'] for change in changes))}")
    if state.by_answers.need is not Need.NOTHING:
        reasons.append(state.by_answers.reason)
    if state.left_out:
        reasons.append(f"{enumerate_words(state.left_out)} could not be compared")
    if not reasons:
        count = "1 host" if len(hosts) == 1 else f"{len(hosts)} hosts"
        checks = state.look.hosts.checks
        return f"Nothing to do: every host is as the inventory says ({checks} checks on {count})."
    phases = enumerate_words(phase.name for phase in DEPLOYMENT)
    names = enumerate_words(name for name in hosts if not _is_away(name, state))
    hand = " after you changed what is marked by hand" if any(change["by_hand"] for change in changes) else ""
    return f"A deployment would run everything ({phases}) on {names}{hand}, since {'; '.join(reasons)}: {deploy}"


def _find_stopping(state: HostState) -> str:
    """Return the hosts without which a deployment does nothing: the storage server, and those that refuse the login."""
    server = presence.find_server(state.look.members)
    return ", ".join(
        name
        for name, problem in state.left_out.items()
        if problem.kind != NOT_COMPARED and (not _is_away(name, state) or (server and name == server.name))
    )


def _is_away(name: str, state: HostState) -> bool:
    return name in state.left_out and state.left_out[name].kind in presence.AWAY_KINDS


def name_deployment(given: Sequence[Sequence[str]]) -> str:
    """Return the command that deploys with the flags that were given for the comparison."""
    words = [word for flag in given if flag[0] not in _OTHER_FLAGS for word in flag]
    return shlex.join(["noslop-driver", "deploy", *words])
