# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the options of a command, as the command line or another program gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Options:
    """The options of one command. No command has all of them; only commands read them."""

    networks: Sequence[str] = ()
    hosts: Sequence[str] = ()
    sources: Sequence[str] = ()
    """Where `discover` lists hosts from: ssh-config, known-hosts, or inventories."""
    port: int = 22
    mdns: bool | None = None
    """Whether machines are asked to announce themselves. None: where that is possible."""
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
    full: bool = False
    """Whether a deployment does everything, without a look at what differs."""
    save: bool = False
    compare: bool = False
    """Whether `plan` compares the plan with the studio, in place of looking at hardware."""
    exit_code: bool = False
    """Whether a difference has an exit code of its own."""
    given: Sequence[Sequence[str]] = ()
    """The flags of the command line, each with its value, so that a message can name another command with them."""
    shell: str | None = None
    """The shell that `completion` is for."""
    cached: bool = False
    """Whether `status` shows the records only, and asks no host."""
    fix: bool = False
    """Whether doctor mends what it may."""
    bundle: Path | None = None
    """The archive that doctor writes."""
    limit: str | None = None
    versions: Sequence[str] = ()
    """Versions of services, each as SERVICE=VERSION."""
    action: str = ""
    """The subcommand, for a command that has some."""
    models: Sequence[str] = ()
    """Names of models of the catalogue."""
    model: str | None = None
    """The name of one model of the catalogue."""
    keep_file: bool = False
    """True to remove a model from the catalogue only."""
    apply: bool = False
    """True to do what a command otherwise only shows."""
    trash_days: int = 30
    """Days that a removed model stays in the trash."""
    workflow: str | None = None
    """The path of a workflow, or the name of an official template."""
    pull: bool = False
    words: Sequence[str] = ()
    """Words to search for."""
    most: int = 10
    """The number of results of each source."""
    source: str | None = None
    """Where a new model comes from. The next two are where it goes."""
    folder: str | None = None
    file: str | None = None
    hard_links: bool = True
    """Whether `models dedupe` may make hard links."""
    origin: str | None = None
    """Where models lie that are adopted, as HOST:PATH."""
    look_up: bool = True
    """Whether `models adopt` asks the marketplace for the names of files by their checksums."""
    node: str | None = None
    """The name of a custom node. The next four are its source, as an entry of `noslop_custom_nodes` has it."""
    repo: str | None = None
    commit: str | None = None
    archive: str | None = None
    sha256: str | None = None
    allow_install_script: bool = False
    no_run: bool = False
    member: str | None = None
    """The name of a host of the studio."""
    replacement: str | None = None
    """The name or address of the machine that replaces it."""
    dead: bool = False
    """Whether the host is removed without it."""
    timeout: int = 600
    """The seconds that a command waits for what runs on a host."""
    undo: bool = False
    remove: bool = False
    """Whether `ssh-setup` removes the key."""
    again: bool = False
    """Whether machines that were removed from the studio may be added."""
    config_file: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The settings that were given as flags, under the names of `StudioSettings`."""
