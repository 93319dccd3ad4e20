# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move the storage to another member: copy it, switch both hosts, change the inventory, and deploy."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio as collection
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import studio_rules

from noslop_driver.commands.host.members import describe_member, find_member, join_results, list_mentions
from noslop_driver.commands.models.run import read_progress
from noslop_driver.commands.options import Options
from noslop_driver.commands.phase_run import make_run_data, run_phases
from noslop_driver.commands.result import CommandResult, HostMoveStorageData
from noslop_driver.commands.studio import read_members
from noslop_driver.errors import PreflightError, UnreachableError, UsageError
from noslop_driver.hosts import presence
from noslop_driver.hosts.login import Login
from noslop_driver.inventory import storage_groups
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import (
    CONFIGURE,
    MOVE,
    MOVE_END,
    MOVE_UNDO,
    PREFLIGHT,
    SERVICES,
    STORAGE,
    VERIFY,
    Phase,
    RunResult,
)
from noslop_driver.records import Record
from noslop_driver.secrets import private_directory

COMMAND = "host move-storage"
PROGRESS = "move-progress.json"
"""The file in `.noslop` with the bytes of the copy that runs."""


def move_storage(studio: StudioDirectory, login: Login, options: Options, terminal: Terminal) -> CommandResult:
    """Show what is done, have it confirmed, and move the storage; or give a move up with `--undo`."""
    members = read_members(studio.path, login.user)
    old = _find_server(members, studio)
    new = _find_new(members, str(options.member), studio)
    if new is old and options.undo:
        raise UsageError(
            f"{new.name} is the storage server in the inventory, so the move is not given up any more. To move the "
            f"storage back: noslop-driver {COMMAND} with the name of the old server."
        )
    texts: dict[str, str] = {}
    if new is not old:
        texts = storage_groups.plan_exchange(studio, old.name, new.name)
        _check_groups(studio, texts, old, new, login.user)
    here = presence.look(studio.path, members, login, terminal)
    login = replace(login, secrets=here.secrets)
    if new.name in here.away and not options.undo:
        raise UnreachableError(f"{new.name} does not answer: {here.away[new.name]} Nothing was changed.")
    if not options.check:
        _print_move(studio, old, new, list(texts), terminal, undo=options.undo)
        verb = "Give the move up" if options.undo else "Finish the move" if new is old else "Move the storage"
        terminal.require_consent(f"{verb}?")
    record = None if options.check else Record(studio.records, COMMAND, login.secrets)
    words = f"{COMMAND} {new.name}{' --undo' if options.undo else ''}"
    progress_file = studio.state_dir / PROGRESS
    variables = {
        "noslop_move_to": new.name,
        "noslop_move_undo": options.undo,
        "noslop_move_driven": True,
        "noslop_move_progress_file": str(progress_file.absolute()),
        "noslop_drain_timeout": options.timeout,
    }

    def run(phases: Sequence[Phase], record: Record | None, values: Mapping[str, Any] = variables) -> RunResult:
        result, _members = run_phases(
            words,
            phases,
            studio,
            login=login,
            terminal=terminal,
            record=record,
            away=here.away,
            check=options.check,
            phase_variables=lambda phase: values if phase.playbook == MOVE.playbook else {},
            details=lambda: read_progress(progress_file),
        )
        return result

    moved: RunResult | None = None
    try:
        if new is not old:
            moved = run((MOVE_UNDO if options.undo else MOVE,), record)
            if options.check or options.undo or not moved.complete:
                if options.undo and moved.complete:
                    terminal.print(f"{old.name} serves the storage as before.")
                data = _make_data(moved, studio, record, old, new, switched=False)
                return CommandResult(moved.code, data, moved.message)
            studio.change_files(texts)
            record = Record(studio.records, COMMAND, login.secrets)
        result = join_results(moved, run((PREFLIGHT, STORAGE, CONFIGURE, SERVICES, MOVE_END, VERIFY), record))
    finally:
        progress_file.unlink(missing_ok=True)
    if result.complete:
        terminal.print(f"{new.name} is the storage server of {studio.path} now.")
    for host, paths in _list_kept(result).items():
        for path in paths:
            terminal.print(f"  {host} keeps its old files in {path}. When you are sure, as root there: rm -r {path}")
    return CommandResult(result.code, _make_data(result, studio, record, old, new, switched=True), result.message)


def _find_server(members: Sequence[Member], studio: StudioDirectory) -> Member:
    """Return the storage server.

    Raises:
        UsageError: there is none, or its storage is not served by NoSlop.
    """
    server = presence.find_server(members)
    if server is None:
        raise UsageError(f"{studio.path} has no host in the group storage_server, so there is no storage to move.")
    provider = str(server.variables.get("noslop_storage_provider") or collection.DEFAULTS["noslop_storage_provider"])
    if provider == "local":
        raise UsageError(f"{studio.path} is one host with its own storage (local): no other host can have it.")
    if provider != "nfs":
        raise UsageError(
            f"The storage of {studio.path} is shared by something else ({provider}), and NoSlop does not move it. How "
            "to change to another file system is in docs/scale.md."
        )
    return server


def _find_new(members: Sequence[Member], name: str, studio: StudioDirectory) -> Member:
    if name not in [member.name for member in members]:
        names = ", ".join(member.name for member in members)
        raise UsageError(
            f"{name} is no host of {studio.path}. It has {names}. To add one: noslop-driver host add ADDRESS."
        )
    return find_member(members, name, studio)


def _check_groups(studio: StudioDirectory, texts: Mapping[str, str], old: Member, new: Member, user: str) -> None:
    """Let Ansible read the inventory as it will be, and judge it by the rules of every studio.

    Raises:
        PreflightError: the new groups are not what they should be.
    """
    with private_directory("noslop-move-") as directory:
        path = Path(directory) / studio.path.resolve().name
        shutil.copytree(studio.path, path, ignore=shutil.ignore_patterns(".noslop"))
        for name, text in texts.items():
            (path / name).write_text(text, encoding="utf-8")
        members = read_members(path, user)
    # What is wrong already, is no matter of this command.
    failed = [text for text in _judge(members) if text not in _judge(read_members(studio.path, user))]
    if not failed and (presence.find_server(members) or new).name != new.name:
        failed = [f"{old.name} is in the group storage_server by more than its own entry."]
    if failed:
        raise PreflightError(
            f"With {new.name} as the storage server the inventory {studio.path} would be wrong. {' '.join(failed)} "
            "Nothing was changed."
        )


def _judge(members: Sequence[Member]) -> list[str]:
    """Return what is wrong with the groups of an inventory, with the next step."""

    def list_group(group: str) -> list[str]:
        return [member.name for member in members if group in member.groups]

    checks = Checks(studio_rules.STUDIO)
    plan = studio_rules.Plan(
        hosts=[member.name for member in members],
        studio_id=str(members[0].variables.get("noslop_studio_id") or ""),
        provider="nfs",
        servers=list_group("storage_server"),
        clients=list_group("storage_clients"),
        services={name: list_group(name) for name in collection.SERVICES},
        addresses={member.name: member.studio_address for member in members},
    )
    studio_rules.judge_plan(checks, plan)
    return [f"{check['seen']}: {check['todo']}." for check in checks.list if not check["ok"]]


def _print_move(
    studio: StudioDirectory, old: Member, new: Member, files: Sequence[str], terminal: Terminal, *, undo: bool
) -> None:
    if undo:
        terminal.print(
            f"This gives the move of the storage to {new.name} up: the copy there is removed, {old.name} serves on, "
            "and what was stopped is started."
        )
        return
    if new is old:
        terminal.print(
            f"{new.name} is the storage server in the inventory already. This deploys the studio like that, and starts "
            "what an interrupted move has stopped."
        )
        return
    lines = [
        f"{new.name} copies the shares while {old.name} serves them. That may take hours, and changes nothing.",
        "then ComfyUI and Ollama are stopped when they have nothing to do, and everything else that writes.",
        "the rest is copied, and every file is compared by its hash. After a difference everything goes on as before.",
        f"{old.name} renames its files aside, which stay, and mounts the shares of {new.name}, like the others.",
        f"{studio.path}: the groups change in {', '.join(files)}.",
    ]
    if "backend" in old.groups:
        lines.append(f"the backend and its database stay on {old.name}, which uses the projects over NFS then.")
    terminal.print(f"This moves the storage from {describe_member(old)} to {describe_member(new)}:")
    for line in lines:
        terminal.print(f"  {line}")
    for mention in [*list_mentions(studio, old.name), *list_mentions(studio, new.name)]:
        terminal.warn(f"{mention}. It stays as it is: look whether it still fits.")


def _list_kept(result: RunResult) -> dict[str, list[str]]:
    """Return the directories with the shares that the old server had, by host."""
    return {str(row["host"]): list(row["kept_shares"]) for row in result.returned if row.get("kept_shares")}


def _make_data(
    result: RunResult, studio: StudioDirectory, record: Record | None, old: Member, new: Member, *, switched: bool
) -> HostMoveStorageData:
    return {
        **make_run_data(result, studio, record),
        "old_server": old.name if old is not new else None,
        "server": new.name,
        "switched": switched,
        "kept": _list_kept(result),
    }
