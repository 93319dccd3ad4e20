# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the passwords of SMB users on the controller: from files that only their owner can read, or from a vault."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping, Sequence

from ansible_collections.noslop.studio.plugins.plugin_utils.validation.smb import (
    PASSWORDS,
    VARIABLE,
    SmbUser,
    explain_missing_password,
    find_password_problem,
    parse_smb_users,
)


def read_passwords(users: Sequence[SmbUser], vault: Mapping[str, object], directory: str) -> dict[str, str]:
    """Return the password of each user, by name.

    Args:
        users: the users.
        vault: the passwords in a vault, by name.
        directory: the directory of the inventory, where relative paths begin.

    Raises:
        ValueError: a user has no password, has two, or has one that cannot be used. The message names the user, says
            what to do, and has no password in it.
    """
    return {user.name: _read(user, vault, directory) for user in users}


def list_problems(
    value: object, vault: Mapping[str, object], directory: str, skipped: Collection[str] = ()
) -> list[str]:
    """Return one sentence for each problem with the users of ``noslop_smb_users`` and their passwords.

    The passwords of the users in ``skipped`` are not read.
    """
    try:
        users = parse_smb_users(value)
    except ValueError as error:
        return [str(error)]
    problems = (
        []
        if users
        else [f"{VARIABLE} is empty: nobody could use the shares. Add a user, or set noslop_smb_enabled to false."]
    )
    for user in users:
        if user.name in skipped:
            continue
        try:
            _read(user, vault, directory)
        except ValueError as error:
            problems.append(str(error))
    names = {user.name for user in users}
    problems += [
        f"{PASSWORDS} has a password for {name}, who is not in {VARIABLE}. Add the user, or remove the password."
        for name in sorted(vault.keys() - names)
    ]
    return problems


def _read(user: SmbUser, vault: Mapping[str, object], directory: str) -> str:
    if user.password_file and user.name in vault:
        raise ValueError(
            f"The SMB user {user.name} has a password in a file and one in {PASSWORDS}. Remove one of them."
        )
    if not user.password_file and user.name not in vault:
        raise ValueError(explain_missing_password(user.name))
    password = _read_file(user, directory) if user.password_file else vault[user.name]
    problem = find_password_problem(user.name, password)
    if problem:
        raise ValueError(problem)
    return str(password)


def _read_file(user: SmbUser, directory: str) -> str:
    path = os.path.join(directory, os.path.expanduser(user.password_file))
    try:
        with open(path, encoding="utf-8") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            password = stream.read().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        # The message of this error would show bytes of the password.
        raise ValueError(
            f"The password of the SMB user {user.name} in {path} is no text in UTF-8. Write it anew."
        ) from error
    except OSError as error:
        raise ValueError(
            f"The password of the SMB user {user.name} cannot be read from {path}: {error.strerror}. Correct "
            "password_file, or put the password there (chmod 600)."
        ) from error
    if mode & 0o077:
        raise ValueError(
            f"{path} has the password of the SMB user {user.name}, and others may read it (mode {mode:04o}). Run: "
            f"chmod 600 {path}"
        )
    return password
