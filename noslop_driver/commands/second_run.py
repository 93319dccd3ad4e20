# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look once at every host of a studio before a deployment, and end there if nothing differs.

A deployment that did everything has each host record what it is like, with the fingerprint of what decided it. The next
one compares both: then nothing is planned, gathered or run.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check
from rich.markup import escape
from rich.table import Table

from noslop_driver import __version__
from noslop_driver.ansible.inventory_list import list_inventory
from noslop_driver.commands import open_addresses, smb_access
from noslop_driver.commands.draft import read_settings_outside_studio_yml
from noslop_driver.commands.options import Options
from noslop_driver.commands.phase_run import make_run_data
from noslop_driver.commands.result import CommandResult, DeployData, LookData, list_service_addresses
from noslop_driver.errors import ExitCode, UsageError
from noslop_driver.hosts import ssh_config
from noslop_driver.hosts.deployed_run import StudioLook, compare_hosts
from noslop_driver.hosts.login import Login
from noslop_driver.inventory import directory, fingerprint
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.phases import Phase, RunResult
from noslop_driver.planning.second_run import Decision, Need, decide
from noslop_driver.records import LOOK, Record
from noslop_driver.settings import merge


@dataclass(frozen=True)
class Look:
    """The need for a deployment, by one look at every host. No host was looked at where that was clear before."""

    decision: Decision
    members: Sequence[Member]
    login: Login
    """With the sudo password, if it was asked for."""
    hosts: StudioLook = field(default_factory=StudioLook)
    fingerprint: fingerprint.Fingerprint = field(default_factory=dict)
    """That of a deployment now; empty where no host was looked at."""

    @property
    def is_enough(self) -> bool:
        """Return whether nothing is to be done."""
        return self.decision.need is Need.NOTHING

    def as_data(self) -> LookData:
        """Return the look for `--json`."""
        return {
            "need": self.decision.need.value,
            "reason": self.decision.reason,
            "hosts": [host.host for host in self.hosts.hosts],
            "checks": self.hosts.checks,
            "drift": [
                {"host": check["host"], "check": check["check"], "share": check["share"], "observed": check["seen"]}
                for check in self.decision.drift
            ],
            "seconds": round(self.hosts.seconds, 1),
        }


class Recording:
    """Return the variables with which the verification of a deployment has each host record what it is like."""

    def __init__(self, studio: StudioDirectory) -> None:
        """Make the fingerprint at the begin of a deployment, after its inventory was written."""
        self._studio = studio
        self._begin = self._make_fingerprint()

    def __call__(self, phase: Phase) -> Mapping[str, Any]:
        """Return the variables for a phase.

        There are none before the verification, and none where the inventory, a file that it names or NoSlop was changed
        meanwhile: a host may have been deployed from either. Files that runs make are expected to change.
        """
        if not phase.verifies or self._begin is None:
            return {}
        now = self._make_fingerprint()
        if now is None or any(now[part] != self._begin[part] for part in now if part != fingerprint.MADE):
            return {}
        return {"studio_verify_deployment": str(uuid.uuid4()), "studio_verify_fingerprint": dict(now)}

    def _make_fingerprint(self) -> fingerprint.Fingerprint | None:
        """Return the fingerprint; None where it would say nothing, or the inventory cannot be read now."""
        try:
            listing = list_inventory(self._studio.path)
        except UsageError:
            return None
        return None if fingerprint.list_computed(listing) else fingerprint.make(listing, self._studio)


def look_where_possible(options: Options, studio: StudioDirectory, login: Login, terminal: Terminal) -> Look | None:
    """Look at every host of an existing studio, and print what follows; return None if the options ask for more.

    Raises:
        UsageError: Ansible cannot read the inventory, or it has no hosts.
        KeyboardInterrupt: the run was interrupted.
    """
    if not studio.exists or asks_for_more(options, studio.read_settings()):
        return None
    listing = list_inventory(studio.path)
    members = ssh_config.resolve_members(directory.read_members(listing, login.user))
    if options.ssh_key and any(has_other_key(member, options.ssh_key) for member in members):
        return None
    computed = fingerprint.list_computed(listing)
    if computed:
        look = Look(decide({}, (), computed), members, login)
    else:
        look = look_at_hosts(studio, listing, members, login, terminal)
    _print(look, terminal)
    return look


def look_at_hosts(
    studio: StudioDirectory, listing: Mapping[str, Any], members: Sequence[Member], login: Login, terminal: Terminal
) -> Look:
    """Look once at every host of a studio, and decide what a deployment of its inventory as it stands has to do.

    Args:
        studio: the directory of the studio.
        listing: the output of `ansible-inventory --list`.
        members: the hosts in it.
        login: the passwords.
        terminal: the terminal for progress, and to ask on.

    Raises:
        KeyboardInterrupt: the run was interrupted.
    """
    hosts, login = compare_hosts(studio.path, members, login, terminal)
    now = fingerprint.make(listing, studio)
    return Look(decide(now, hosts.hosts, fingerprint.list_computed(listing)), members, login, hosts, now)


def asks_for_more(options: Options, settings: Mapping[str, Any]) -> bool:
    """Return whether a deployment was asked for more than to bring the studio of these settings up to date."""
    hosts = options.networks or options.hosts or options.again or options.limit
    changes = any(name not in settings or settings[name] != value for name, value in options.settings.items())
    return bool(options.full or options.check or hosts or options.config_file or changes)


def has_other_key(member: Member, ssh_key: Path) -> bool:
    """Return whether the inventory has another key for a host than the one that was named now."""
    present = member.variables.get("ansible_ssh_private_key_file")
    return not present or Path(str(present)).expanduser().absolute() != ssh_key.expanduser().absolute()


def finish(look: Look, studio: StudioDirectory, terminal: Terminal) -> CommandResult:
    """Record a deployment that had nothing to do, print the addresses, and return its result."""
    previous = studio.read_settings() or read_settings_outside_studio_yml(look.members)
    settings = merge.merge(merge.Sources(previous=previous))
    record = Record(studio.records, "deploy", look.login.secrets)
    terminal.log.start(record.log, look.login.secrets)
    terminal.log.add(f"noslop-driver {__version__} deploy")
    hosts = "1 host" if len(look.members) == 1 else f"{len(look.members)} hosts"
    terminal.print(f"Nothing to do: every host is as the inventory says ({look.hosts.checks} checks on {hosts}).")
    record.write_inventory(look.members)
    record.write_look(look.as_data())
    record.add_phase(LOOK, look.hosts.outcome, look.hosts.seconds)
    addresses = list_service_addresses(look.members)
    smb_addresses = smb_access.list_addresses(settings, look.members)
    open_addresses.print_services(terminal, addresses, firewall_enabled=settings.firewall_enabled)
    open_addresses.print_shares(terminal, smb_addresses, [user["name"] for user in settings.smb_users])
    record.finish(int(ExitCode.OK), "", __version__)
    terminal.log.stop()
    terminal.print(f"Record: {record.path}")
    data: DeployData = {
        **make_run_data(RunResult(complete=True), studio, record),
        "plan": None,
        "look": look.as_data(),
        "addresses": addresses,
        "smb_addresses": smb_addresses,
    }
    return CommandResult(ExitCode.OK, data)


def _print(look: Look, terminal: Terminal) -> None:
    """Print why everything is run, with what is not as it was."""
    if look.is_enough:
        return
    print_drift(look.decision.drift, terminal)
    terminal.print(f"Everything is to be run: {look.decision.reason}.")


def print_drift(drift: Sequence[Check], terminal: Terminal) -> None:
    """Print what differs on the hosts as a table; nothing where nothing does."""
    if not drift:
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("host", "check", "what differs"):
        table.add_column(heading)
    for check in drift:
        name = f"{check['check']} {check['share']}".strip()
        table.add_row(*map(escape, (check["host"], name, check["seen"])))
    terminal.print_table(table)
