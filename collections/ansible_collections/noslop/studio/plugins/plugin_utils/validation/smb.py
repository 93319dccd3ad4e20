# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the studio's list of SMB users, ``noslop_smb_users``, and check what a studio chooses about SMB. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host.addresses import parse_network

VARIABLE = "noslop_smb_users"
#: The variable for passwords in a vault. No variable of studio.yml: those are copied into records and output.
PASSWORDS = "smb_server_passwords"
#: Anybody on the network may try passwords, without a limit.
LEAST_LENGTH = 8
#: Longest password that smbpasswd(8) reads.
MOST_LENGTH = 127
_KEYS = ("name", "password_file")
_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_RESERVED = frozenset({"root", "nobody", studio.SMB_GROUP, *studio.ACCOUNTS})
_TEXT = re.compile(r"[^\x00-\x1f\x7f]*")


@dataclass(frozen=True)
class SmbUser:
    """A person who may use the shares over SMB. ``password_file`` is empty where the password is in a vault."""

    name: str
    password_file: str = ""


@dataclass(frozen=True)
class SmbSettings:
    """The choices of a studio about SMB.

    ``networks`` may use the shares. ``user_problems`` are sentences about users and their passwords.
    """

    enabled: bool
    provider: str
    servers: Sequence[str]
    networks: Sequence[str] = ()
    encryption: str = "offered"
    models_writable: bool = False
    models_writers: str = "members"
    user_problems: Sequence[str] = ()


def parse_smb_users(value: object) -> list[SmbUser]:
    """Parse the value of ``noslop_smb_users``, and return the users in its order.

    Raises:
        ValueError: it is no list of users, an entry is unusable, or two users have one name. The message names the
            entry and what to write.
    """
    if not isinstance(value, list | tuple):
        raise ValueError(f"{VARIABLE} is no list. Write one entry with name and password_file for each person.")
    users = [_parse(entry, number) for number, entry in enumerate(value, start=1)]
    names = [user.name for user in users]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"{VARIABLE}: two entries are called {twice}. Leave one of them out.")
    return users


def find_password_problem(name: str, password: object) -> str:
    """Return why a password is unusable, without the password; empty where it is usable."""
    if not isinstance(password, str) or not password:
        return f"The password of the SMB user {name} is empty, or no text. Write one in quotes."
    if not LEAST_LENGTH <= len(password) <= MOST_LENGTH:
        return (
            f"The password of the SMB user {name} has {len(password)} characters. Choose one of {LEAST_LENGTH} to "
            f"{MOST_LENGTH}: whoever reaches the port may try as often as they like."
        )
    if not _TEXT.fullmatch(password):
        return f"The password of the SMB user {name} has a control character or a second line. Write one line of text."
    return ""


def explain_missing_password(name: str) -> str:
    """Return that a user has no password, and where to put one."""
    return (
        f"{VARIABLE}: {name} has no password. Add password_file, the path of a file only you can read (chmod 600), "
        f"or put the password under {name} in {PASSWORDS}, in a file of group_vars/all that ansible-vault encrypted."
    )


def find_settings_problems(settings: SmbSettings) -> dict[str, list[str]]:
    """Return the problems with the settings, by the name of the check; an empty list where it passed."""
    problems: dict[str, list[str]] = {
        "smb_server": [],
        "smb_users": list(settings.user_problems),
        "smb_networks": [],
        "smb_encryption": [],
        "smb_models": [],
    }
    if settings.provider == "existing":
        problems["smb_server"].append("The shares lie on a file system that another server keeps (provider existing)")
    elif not settings.servers:
        problems["smb_server"].append("No host is in the group storage_server, which would serve them")
    if not settings.networks:
        problems["smb_networks"].append("No network may use the shares over SMB")
    for network in settings.networks:
        try:
            parse_network(network)
        except ValueError as error:
            problems["smb_networks"].append(str(error))
    if settings.encryption not in studio.SMB_ENCRYPTION:
        problems["smb_encryption"].append(f"noslop_smb_encryption is {settings.encryption!r}")
    if settings.models_writable and settings.models_writers == "server":
        problems["smb_models"].append("noslop_smb_models_writable is true, and noslop_models_writers is server")
    return problems


def _parse(entry: object, number: int) -> SmbUser:
    # No message shows the value of an entry: there may be a password in it.
    if not isinstance(entry, Mapping):
        raise ValueError(f"{VARIABLE}: entry {number} is no user. Write name and password_file, each with its value.")
    values: Mapping[Any, Any] = entry
    name = str(values.get("name") or "")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{VARIABLE}: the name of entry {number} is no name of an account. Write at most 32 small letters, digits "
            "and _ -, the first a letter or _."
        )
    if name in _RESERVED:
        raise ValueError(
            f"{VARIABLE}: entry {number} is {name}, an account of the system or of the studio. Choose another."
        )
    if "password" in values:
        raise ValueError(
            f"{VARIABLE}: {name} has a password in it, which records and output would show. Put it into a file that "
            f"only you can read, and write password_file; or into {PASSWORDS}, in a file that ansible-vault encrypted."
        )
    unknown = sorted(str(key) for key in values if key not in _KEYS)
    if unknown:
        raise ValueError(f"{VARIABLE}: {name} has the key {unknown[0]}. The keys are {', '.join(_KEYS)}.")
    file = values.get("password_file") or ""
    if not isinstance(file, str):
        raise ValueError(f"{VARIABLE}: password_file of {name} is no path. Write the path of a file on this computer.")
    return SmbUser(name, file)
