# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show and change the studio's list of custom nodes, and install what it names."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import custom_nodes

from noslop_driver.ansible.events import Status
from noslop_driver.commands.login import read_login
from noslop_driver.commands.node_view import list_nodes
from noslop_driver.commands.options import Options
from noslop_driver.commands.phase_run import make_run_data, run_phases
from noslop_driver.commands.result import CommandResult, NodeChangeData, RunData
from noslop_driver.commands.studio import find_studio, lock_studio, read_members
from noslop_driver.errors import DriverError, ExitCode, UsageError
from noslop_driver.hosts import presence
from noslop_driver.hosts.login import Login
from noslop_driver.inventory import studio_yml
from noslop_driver.inventory.directory import STUDIO, Member, StudioDirectory
from noslop_driver.inventory.node_lists import NodeEntry, NodeHistory, add_node, remove_node
from noslop_driver.models import StudioSettings
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import NODES, VERIFY, RunResult
from noslop_driver.records import Record

GIT_TIMEOUT_S = 60.0
"""The time in which the server of a repository must answer."""

_ANY_COMMIT = "0" * 40


def nodes(options: Options, terminal: Terminal) -> CommandResult:
    """Show the list of custom nodes, or change it and install it on the hosts."""
    studio = find_studio(inventory=options.inventory, name=options.studio, must_exist=True)
    if options.action == "list":
        return list_nodes(studio, options, terminal)
    login = read_login(options, terminal)
    with lock_studio(studio, terminal):
        settings = _read_settings(studio)
        members = read_members(studio.path, login.user)
        _require_list_in_effect(studio, members, settings.custom_nodes)
        history = NodeHistory(studio.state_dir)
        changed = _edit(options, settings, members, history)
        _print_change(settings.custom_nodes, changed.custom_nodes, terminal)
        if changed != settings and studio.is_edited(STUDIO):
            raise UsageError(_compose_edit(studio, changed.custom_nodes))
        terminal.require_consent("Change the list of custom nodes?" if options.no_run else "Go on?")
        if options.no_run:
            _save(studio, history, settings, changed)
            terminal.print("The next 'noslop-driver deploy' installs this list.")
            return CommandResult(ExitCode.OK, _make_data(make_run_data(RunResult(), studio, None), changed))
        here = presence.look(studio.path, members, login, terminal)
        saved = _save(studio, history, settings, changed)
        record = Record(studio.records, "nodes", here.secrets)
        installed = False
        try:
            login = replace(login, secrets=here.secrets)
            result = _install(studio, login, options, terminal, record=record, away=here.away)
            installed = bool(result.phases) and result.phases[0].status is Status.OK
        finally:
            if saved and not installed:
                studio.write_settings(settings)
                saved.unlink()
    message = result.message
    if not installed:
        reasons = dict.fromkeys(failure.message for phase in result.phases for failure in phase.failures)
        message = " ".join([message, *reasons, "The list of custom nodes is what it was before."])
    elif not result.complete:
        message += " The list of custom nodes has the change; 'noslop-driver nodes rollback' goes back."
    return CommandResult(result.code, _make_data(make_run_data(result, studio, record), changed), message)


def resolve_head(repo: str) -> str:
    """Return the commit that the default branch of a repository has now, 40 hexadecimal digits.

    Raises:
        DriverError: git is missing, the repository does not answer, or it has no commit.
    """
    git = shutil.which("git")
    if git is None:
        raise DriverError("git is not installed on this computer. Install it, or name the commit with --commit.")
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "https:http"}
    try:
        done = subprocess.run(
            [git, "ls-remote", "--", repo, "HEAD"],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DriverError(
            f"{repo} did not answer within {GIT_TIMEOUT_S:.0f} s. Try again, or name the commit with --commit."
        ) from error
    commit = done.stdout.split("\t", 1)[0]
    if done.returncode or not commit:
        reason = done.stderr.strip() or "it has no commit"
        raise DriverError(f"{repo} cannot be read: {reason}. Correct --repo, or name the commit with --commit.")
    return commit


def _read_settings(studio: StudioDirectory) -> StudioSettings:
    """Return the settings in studio.yml, which has the list."""
    path = studio.path / STUDIO
    if not path.exists():
        raise UsageError(
            f"There is no {path}, which this command writes. Edit {custom_nodes.VARIABLE} in your own files, and run "
            "'noslop-driver deploy'."
        )
    return studio_yml.validate(studio.read_settings(), STUDIO)


def _require_list_in_effect(studio: StudioDirectory, members: Sequence[Member], current: Sequence[NodeEntry]) -> None:
    """Raise an error where another file of the inventory has a list that wins over the one in studio.yml."""
    for member in members:
        if "comfyui" in member.groups and (member.variables.get(custom_nodes.VARIABLE) or []) != list(current):
            raise UsageError(
                f"{member.name} has another {custom_nodes.VARIABLE} than {studio.path / STUDIO}. Remove it from the "
                "other file of the inventory, or edit it there. Nothing was changed."
            )


def _edit(
    options: Options, settings: StudioSettings, members: Sequence[Member], history: NodeHistory
) -> StudioSettings:
    """Return the settings with the list as the command changes it, checked."""
    current = settings.custom_nodes
    if options.action == "add":
        changed = add_node(current, _make_entry(options))
    elif options.action == "remove":
        changed = remove_node(current, str(options.node))
    else:
        changed = history.restore(current, options.node)
    hosts = [member.name for member in members if "comfyui" in member.groups]
    if problems := custom_nodes.find_unknown_hosts(_parse(changed), hosts):
        raise UsageError(" ".join(problems))
    return settings.replace(custom_nodes=changed)


def _make_entry(options: Options) -> NodeEntry:
    """Return the entry that the options of `add` describe; without --commit, with the commit of today."""
    values = {
        "name": str(options.node),
        "repo": options.repo,
        "commit": options.commit or (_ANY_COMMIT if options.repo else None),
        "archive": options.archive,
        "sha256": options.sha256,
        "hosts": list(options.hosts) or None,
        "allow_install_script": options.allow_install_script or None,
    }
    entry: NodeEntry = {key: value for key, value in values.items() if value is not None}
    _parse([entry])  # before the address is used
    if options.repo and not options.commit:
        if options.repo.startswith("/"):
            raise UsageError("A path is on the storage server, where this computer cannot look: pass --commit SHA.")
        entry["commit"] = resolve_head(options.repo)
    return entry


def _parse(entries: Sequence[NodeEntry]) -> list[custom_nodes.CustomNode]:
    try:
        return custom_nodes.parse_custom_nodes(entries)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _print_change(before: Sequence[NodeEntry], after: Sequence[NodeEntry], terminal: Terminal) -> None:
    """Print the entries that go and those that come."""
    lines = [f"- {studio_yml.format_value(node)}" for node in before if node not in after]
    lines += [f"+ {studio_yml.format_value(node)}" for node in after if node not in before]
    for line in lines or ["The list of custom nodes stays as it is, and is installed again."]:
        terminal.print(line)


def _compose_edit(studio: StudioDirectory, changed: Sequence[NodeEntry]) -> str:
    text = yaml.safe_dump({custom_nodes.VARIABLE: list(changed)}, sort_keys=False, allow_unicode=True, width=10**9)
    return (
        f"{studio.path / STUDIO} was edited by hand and is left as it is. Nothing was changed. Write this list into "
        f"it, and run 'noslop-driver deploy':\n{text}"
    )


def _save(
    studio: StudioDirectory, history: NodeHistory, settings: StudioSettings, changed: StudioSettings
) -> Path | None:
    """Write the changed list, and the one before into the history; return the path of the latter."""
    if changed == settings:
        return None
    path = history.save(settings.custom_nodes)
    studio.write_settings(changed)
    return path


def _install(
    studio: StudioDirectory,
    login: Login,
    options: Options,
    terminal: Terminal,
    *,
    record: Record,
    away: Mapping[str, str],
) -> RunResult:
    """Install the list on the hosts, and verify the studio."""
    words = ["nodes", options.action, *([options.node] if options.node else [])]
    for flag in ("repo", "commit", "archive", "sha256"):
        if value := getattr(options, flag):
            words += [f"--{flag}", value]
    for host in options.hosts:
        words += ["--host", host]
    if options.allow_install_script:
        words.append("--allow-install-script")
    result, _members = run_phases(
        shlex.join(words), (NODES, VERIFY), studio, login=login, terminal=terminal, record=record, away=away
    )
    return result


def _make_data(run: RunData, settings: StudioSettings) -> NodeChangeData:
    return {**run, "custom_nodes": list(settings.custom_nodes)}
