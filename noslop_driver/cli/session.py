# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was said on the command line, and what follows from it: the studio's directory and the passwords."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noslop_driver import studio_lock
from noslop_driver.errors import UsageError
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import Secrets, ask_password, read_password_file

INVENTORIES = Path("inventories")
DEFAULT_STUDIO = "studio"


@dataclass(frozen=True)
class Options:
    """One command's flags. Not every command has all of them."""

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
    """File with the fingerprints of hosts that may be new."""
    inventory: Path | None = None
    studio: str | None = None
    local: bool = False
    check: bool = False
    save: bool = False
    limit: str | None = None
    wishes_file: Path | None = None
    wishes: Mapping[str, Any] = field(default_factory=dict)
    """Wishes that were said as flags, under the names of `Wishes`."""

    @property
    def names_targets(self) -> bool:
        """Whether hosts to look for were named."""
        return bool(self.networks or self.hosts)


@dataclass(frozen=True)
class Session:
    """What one command works with."""

    options: Options
    terminal: Terminal
    secrets: Secrets
    studio: StudioDirectory


@contextlib.contextmanager
def open_session(options: Options, terminal: Terminal, *, must_exist: bool) -> Iterator[Session]:
    """Find the studio, keep other drivers off it, and read the passwords.

    Raises:
        UsageError: one of these cannot be had.
    """
    studio = studio_directory(options, must_exist=must_exist)
    secrets = read_secrets(options, terminal)
    studio.prepare()
    with studio_lock.lock(studio.own / "lock", studio.path, terminal.say):
        yield Session(options, terminal, secrets, studio)


def studio_directory(options: Options, *, must_exist: bool) -> StudioDirectory:
    """Find the studio that is meant.

    Raises:
        UsageError: there is none and there must be, or there are several and none was named.
    """
    if options.inventory:
        directory = StudioDirectory(options.inventory)
    elif options.studio:
        directory = StudioDirectory(INVENTORIES / options.studio)
    else:
        found = _studios()
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise UsageError(f"There are several studios in {INVENTORIES}/: {names}. Say which: --studio NAME.")
        directory = StudioDirectory(found[0] if found else INVENTORIES / DEFAULT_STUDIO)
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
        UsageError: a file cannot be read, or there is nobody to ask.
    """
    ssh = _password(terminal, "SSH password: ", ("--ask-pass", options.ask_pass), ("--pass-file", options.pass_file))
    become = _password(
        terminal,
        "sudo password: ",
        ("--ask-become-pass", options.ask_become_pass),
        ("--become-pass-file", options.become_pass_file),
    )
    return Secrets(ssh_password=ssh, become_password=become)


def _password(terminal: Terminal, prompt: str, ask: tuple[str, bool], file: tuple[str, Path | None]) -> str | None:
    flag, wanted = ask
    file_flag, path = file
    if path and wanted:
        raise UsageError(f"{flag} and {file_flag} contradict each other: pass one of them.")
    if path:
        password, warning = read_password_file(path, file_flag)
        if warning:
            terminal.warn(warning)
        return password
    return ask_password(prompt, flag, file_flag, interactive=terminal.has_person) if wanted else None


def _studios() -> list[Path]:
    """The directories here that a driver has made a studio in."""
    if not INVENTORIES.is_dir():
        return []
    return sorted(path for path in INVENTORIES.iterdir() if (path / ".noslop" / "written.json").exists())
