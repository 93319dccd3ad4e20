# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open the session of a command: its options, the studio's directory and the passwords."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noslop_driver.ansible import studio_lock
from noslop_driver.errors import UsageError
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import Secrets, ask_password, read_password_file

INVENTORIES = Path("inventories")
DEFAULT_STUDIO = "studio"


@dataclass(frozen=True)
class Options:
    """The options of one command. No command has all of them."""

    networks: Sequence[str] = ()
    hosts: Sequence[str] = ()
    port: int = 22
    user: str | None = None
    ssh_key: Path | None = None
    ask_pass: bool = False
    ask_become_pass: bool = False
    pass_file: Path | None = None
    become_pass_file: Path | None = None
    accept_new_keys: bool = False
    host_keys: Path | None = None
    """A file with the fingerprints of new hosts to accept."""
    inventory: Path | None = None
    studio: str | None = None
    local: bool = False
    check: bool = False
    save: bool = False
    limit: str | None = None
    config_file: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The settings that were given as flags, under the names of `StudioSettings`."""

    @property
    def has_targets(self) -> bool:
        """Return whether networks or hosts were named."""
        return bool(self.networks or self.hosts)


@dataclass(frozen=True)
class Session:
    """The options, terminal, passwords and studio of one command."""

    options: Options
    terminal: Terminal
    secrets: Secrets
    studio: StudioDirectory


@contextlib.contextmanager
def open_session(options: Options, terminal: Terminal, *, must_exist: bool) -> Iterator[Session]:
    """Find the studio, lock it against other drivers, and read the passwords.

    Raises:
        UsageError: there is no such studio, it is locked, or a password cannot be read.
    """
    studio = find_studio(options, must_exist=must_exist)
    secrets = read_secrets(options, terminal)
    studio.make_state_dir()
    with studio_lock.lock(studio.state_dir / "lock", studio.path, terminal.print):
        yield Session(options, terminal, secrets, studio)


def find_studio(options: Options, *, must_exist: bool) -> StudioDirectory:
    """Return the directory of the studio that the options name, or of the only one.

    Raises:
        UsageError: there is none and it must exist, or there are several and none was named.
    """
    if options.inventory:
        directory = StudioDirectory(options.inventory)
    elif options.studio:
        directory = StudioDirectory(INVENTORIES / options.studio)
    else:
        studios = _list_studios()
        if len(studios) > 1:
            names = ", ".join(path.name for path in studios)
            raise UsageError(f"There are several studios in {INVENTORIES}/: {names}. Say which: --studio NAME.")
        directory = StudioDirectory(studios[0] if studios else INVENTORIES / DEFAULT_STUDIO)
    if options.inventory and directory.path.exists() and not directory.path.is_dir():
        raise UsageError(f"--inventory {options.inventory}: name the studio's directory, not a file in it.")
    if must_exist and not directory.exists:
        raise UsageError(
            f"{directory.path} has no inventory. Make a studio with 'noslop-driver deploy', or name the directory of "
            "one with --inventory DIR."
        )
    return directory


def read_secrets(options: Options, terminal: Terminal) -> Secrets:
    """Read the passwords from files, or ask for them.

    Raises:
        UsageError: a file cannot be read, or there is no terminal to ask on.
    """
    ssh = _read_password(
        terminal, "SSH password: ", ("--ask-pass", options.ask_pass), ("--pass-file", options.pass_file)
    )
    become = _read_password(
        terminal,
        "sudo password: ",
        ("--ask-become-pass", options.ask_become_pass),
        ("--become-pass-file", options.become_pass_file),
    )
    return Secrets(ssh_password=ssh, become_password=become)


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


def _list_studios() -> list[Path]:
    """Return the directories below `inventories` in which a driver has made a studio."""
    if not INVENTORIES.is_dir():
        return []
    return sorted(path for path in INVENTORIES.iterdir() if (path / ".noslop" / "written.json").exists())
