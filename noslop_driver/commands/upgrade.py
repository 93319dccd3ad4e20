# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring Ollama and ComfyUI to other versions, on one host first, and back where one does not work."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import cast

from ansible_collections.noslop.studio.plugins.module_utils import studio as collection
from ansible_collections.noslop.studio.plugins.plugin_utils import releases
from rich.markup import escape
from rich.table import Table

from noslop_driver.choices import PREFIX
from noslop_driver.commands.login import read_login
from noslop_driver.commands.options import Options
from noslop_driver.commands.phase_run import make_run_data, run_phases
from noslop_driver.commands.result import CommandResult, UpgradeData, VersionData
from noslop_driver.commands.studio import find_studio, lock_studio, read_members
from noslop_driver.errors import ExitCode, UsageError
from noslop_driver.hosts import presence
from noslop_driver.hosts.versions_run import ServiceVersion, list_versions
from noslop_driver.inventory import studio_yml
from noslop_driver.inventory.directory import STUDIO, StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import UPGRADES, RunResult
from noslop_driver.records import Record


def upgrade(options: Options, terminal: Terminal) -> CommandResult:
    """Show which versions run and which are to, have it confirmed, and run the upgrade."""
    chosen = parse_versions(options.versions)
    studio = find_studio(inventory=options.inventory, name=options.studio, must_exist=True)
    login = read_login(options, terminal)
    limit = ",".join(options.hosts) or None
    with lock_studio(studio, terminal):
        listing = list_versions(studio.path, terminal, login.secrets, chosen, limit)
        versions = listing.services
        _require_choice_in_effect(versions, chosen)
        _print_versions(versions, terminal)
        nothing = make_run_data(RunResult(), studio, None)
        before = [cast(VersionData, asdict(one)) for one in versions]
        if not any(one.differs for one in versions):
            data = cast(UpgradeData, {**nothing, "versions": before, "left_out": listing.unreachable})
            if listing.unreachable:
                names = ", ".join(listing.unreachable)
                message = f"Every other host runs the version that it is to have. {names} did not answer."
                return CommandResult(ExitCode.UNREACHABLE, data, message)
            terminal.print("Every host runs the version that it is to have. Nothing was changed.")
            return CommandResult(ExitCode.OK, data)
        if not options.check:
            terminal.require_consent("Upgrade these services?")
        here = presence.look(studio.path, read_members(studio.path, login.user), login, terminal, limit)
        record = None if options.check else Record(studio.records, "upgrade", here.secrets)
        words = [word for value in options.versions for word in ("--to", value)]
        words += [word for host in options.hosts for word in ("--host", host)]
        result, _members = run_phases(
            shlex.join(["upgrade", *words]),  # an interrupted upgrade goes on with the same versions
            UPGRADES[:2] if options.check else UPGRADES,
            studio,
            login=replace(login, secrets=here.secrets),
            terminal=terminal,
            record=record,
            limit=limit,
            away=here.away,
            check=options.check,
            variables=chosen,
        )
        if result.complete and options.check:
            terminal.print("This is what an upgrade would do. Nothing was changed.")
        elif result.complete and chosen:
            _keep_choice(studio, chosen, limit, terminal)
    data = cast(UpgradeData, {**make_run_data(result, studio, record), "versions": before})
    return CommandResult(result.code, data, result.message)


def parse_versions(values: Sequence[str]) -> dict[str, str]:
    """Return the studio's variables for versions that are given as `SERVICE=VERSION`.

    Raises:
        UsageError: a value has another form, or a service has no versions.
    """
    chosen: dict[str, str] = {}
    for value in values:
        service, equals, version = value.partition("=")
        if not equals or service not in releases.VARIABLES:
            names = " or ".join(f"{name}=VERSION" for name in releases.VARIABLES)
            raise UsageError(f"--to {value}: write {names}.")
        try:
            chosen[releases.VARIABLES[service]] = releases.parse_setting(service, version)
        except ValueError as error:
            raise UsageError(f"--to {value}: {error}") from error
        if not version:
            raise UsageError(f"--to {value}: name the version.")
    return chosen


def _require_choice_in_effect(versions: Sequence[ServiceVersion], chosen: Mapping[str, str]) -> None:
    """Raise an error where a variable of the role, which wins over the studio's, names another version."""
    for one in versions:
        wanted = chosen.get(releases.VARIABLES[one.service])
        if wanted and one.wanted != wanted:
            names = "comfyui_revision or comfyui_version" if one.service == "comfyui" else "ollama_version"
            raise UsageError(
                f"The inventory gives {one.host} the {collection.SERVICES[one.service].title} {one.wanted} by {names}, "
                f"which wins over --to. Remove that variable, or set it to {wanted}. Nothing was changed."
            )


def _print_versions(versions: Sequence[ServiceVersion], terminal: Terminal) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("host", "service", "runs", "will be"):
        table.add_column(heading)
    for one in versions:
        title = collection.SERVICES[one.service].title
        table.add_row(*map(escape, (one.host, title, one.runs or "nothing", one.wanted if one.differs else "the same")))
    terminal.print_table(table)


def _keep_choice(studio: StudioDirectory, chosen: Mapping[str, str], limit: str | None, terminal: Terminal) -> None:
    """Write the versions into the studio's file, so that the next deployment keeps them; or say what to write."""
    lines = "; ".join(f"{name}: {version}" for name, version in chosen.items())
    if limit:
        terminal.print(
            f"Only {limit} has it. The next deployment brings every host to the inventory's version: to keep it there, "
            f"write into {studio.path}/host_vars: {lines}"
        )
        return
    settings = {**studio.read_settings(), **{name.removeprefix(PREFIX): value for name, value in chosen.items()}}
    if studio.write_settings(studio_yml.validate(settings, STUDIO)).kept:
        terminal.print(
            f"{studio.path / STUDIO} was edited by hand and is left as it is. Write into it, or the next deployment "
            f"goes back: {lines}"
        )
