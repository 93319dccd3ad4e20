# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read how to log in from the options: the account, the key, and passwords from files or the terminal."""

from __future__ import annotations

import getpass
from pathlib import Path

from noslop_driver.commands.options import Options
from noslop_driver.errors import UsageError
from noslop_driver.hosts.login import Login
from noslop_driver.hosts.private_key import check_private_key
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import (
    Secrets,
    ask_password,
    is_password_mapping,
    read_password_file,
    read_password_mapping,
)


def read_login(options: Options, terminal: Terminal) -> Login:
    """Return the login of the options; read its passwords from files, or ask for them.

    Raises:
        UsageError: a file cannot be read, the key cannot be used, or there is no terminal to ask on.
    """
    if options.ssh_key:
        check_private_key(options.ssh_key, "--ssh-key")
    ssh = _read_password(
        terminal, "SSH password: ", ("--ask-pass", options.ask_pass), ("--pass-file", options.pass_file)
    )
    file = options.become_pass_file
    passwords: dict[str, str] = {}
    if file and is_password_mapping(file):
        passwords = read_password_mapping(file, "--become-pass-file")
        file = None
    become = _read_password(
        terminal, "sudo password: ", ("--ask-become-pass", options.ask_become_pass), ("--become-pass-file", file)
    )
    secrets = Secrets(ssh_password=ssh, become_password=become, become_passwords=passwords)
    return Login(options.user or getpass.getuser(), options.ssh_key, secrets)


def _read_password(terminal: Terminal, prompt: str, ask: tuple[str, bool], file: tuple[str, Path | None]) -> str | None:
    flag, wanted = ask
    file_flag, path = file
    if path and wanted:
        raise UsageError(f"{flag} and {file_flag} contradict each other: pass one of them.")
    if path:
        password, warning = read_password_file(path, file_flag)
        if warning:
            terminal.warn(warning)
        return password
    return ask_password(prompt, flag, file_flag, interactive=terminal.has_terminal) if wanted else None
