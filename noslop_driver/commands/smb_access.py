# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find, ask for and write the passwords of the people who use the shares over SMB, and list the shares' addresses.

A password that was asked for lies in the studio's directory, in `.noslop/smb/NAME`, which only this account can read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from ansible_collections.noslop.studio.plugins.module_utils.smb import smb_shares
from ansible_collections.noslop.studio.plugins.plugin_utils import smb_passwords
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import smb

from noslop_driver.errors import UsageError
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.models import Problem, StudioSettings
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import ask_password

FLAG = "--smb-user"
_DIRECTORY = "smb"


class SmbAddress(TypedDict):
    """The address of a share for Windows, and for macOS and Linux."""

    share: str
    windows: str
    url: str
    writable: bool


def name_files(flags: Mapping[str, Any], previous: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags with a file for the password of each SMB user that has none.

    A user who is in the inventory already keeps the entry.
    """
    if "smb_users" not in flags:
        return dict(flags)
    entries: object = previous.get("smb_users")
    present = {
        str(entry.get("name")): entry
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, Mapping)
    }
    users = [
        entry
        if "password_file" in entry
        else present.get(entry["name"], {**entry, "password_file": _file(entry["name"])})
        for entry in flags["smb_users"]
    ]
    return {"smb_enabled": True, **flags, "smb_users": users}


def list_unwritten(settings: StudioSettings, studio: StudioDirectory) -> list[str]:
    """Return the users whose password belongs into the studio's directory, and is not there yet."""
    return [
        user.name
        for user in smb.parse_smb_users(settings.smb_users)
        if settings.smb_enabled
        and user.password_file == _file(user.name)
        and not (studio.path / user.password_file).exists()
    ]


def ask(names: Sequence[str], terminal: Terminal) -> dict[str, str]:
    """Ask for a password of each user, twice, and return them by name.

    Raises:
        UsageError: there is no terminal, the two differ, or one cannot be used.
    """
    return {name: _ask(name, terminal) for name in names}


def write(studio: StudioDirectory, passwords: Mapping[str, str]) -> None:
    """Write passwords into the studio's directory."""
    for name, password in passwords.items():
        studio.write_state(f"{_DIRECTORY}/{name}", f"{password}\n")


def find_problems(
    settings: StudioSettings, studio: StudioDirectory, members: Sequence[Member], given: Sequence[str]
) -> list[Problem]:
    """Return the problems with the users and their passwords, by the rules of preflight.

    Args:
        settings: the settings of the studio.
        studio: its directory, where relative paths begin.
        members: the hosts of its inventory, whose variables may have passwords in a vault.
        given: users whose password was given just now, or will be asked for.
    """
    if not settings.smb_enabled:
        return []
    vault: dict[str, object] = {}
    for member in members:
        values = member.variables.get(smb.PASSWORDS)
        vault |= values if isinstance(values, dict) else {}
    # A password that ansible-vault encrypted by itself is no text here; preflight reads it.
    sealed = [name for name, value in vault.items() if isinstance(value, dict)]
    problems = smb_passwords.list_problems(settings.smb_users, vault, str(studio.path), skipped=[*given, *sealed])
    return [
        Problem(
            kind="smb_password",
            what=problem,
            todo="Do that and run this again: nothing is changed before every user has one.",
        )
        for problem in problems
    ]


def list_addresses(settings: StudioSettings, members: Sequence[Member]) -> list[SmbAddress]:
    """Return the addresses of the shares; none where the studio does not serve SMB."""
    servers = [member.studio_address for member in members if "storage_server" in member.groups]
    if not settings.smb_enabled or not servers:
        return []
    address = servers[0]
    # Windows has no colons in such names: an IPv6 address is written as a name below ipv6-literal.net.
    windows = f"{address.replace(':', '-')}.ipv6-literal.net" if ":" in address else address
    netloc = f"[{address}]" if ":" in address else address
    return [
        {
            "share": share.name,
            "windows": f"\\\\{windows}\\{share.name}",
            "url": f"smb://{netloc}/{share.name}",
            "writable": share.writable,
        }
        for share in smb_shares.list_shares(settings.variables())
    ]


def _file(name: str) -> str:
    return f".noslop/{_DIRECTORY}/{name}"


def _ask(name: str, terminal: Terminal) -> str:
    words = (f"{FLAG} {name}", f"{FLAG} {name}=")
    first = ask_password(f"New SMB password of {name}: ", *words, interactive=terminal.can_ask_password)
    problem = smb.find_password_problem(name, first)
    if problem:
        raise UsageError(problem)
    if first != ask_password(f"The SMB password of {name} again: ", *words, interactive=terminal.can_ask_password):
        raise UsageError(f"The two passwords of {name} differ. Nothing was changed: run this again.")
    return first
