# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have ssh read a file of the test in place of ~/.ssh/config.

ssh takes the home directory from the list of accounts, not from HOME, so the test puts a program `ssh` first in PATH
that names the file to the real one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.sshd import SshServer

PROGRAM = """\
#!/bin/sh
exec {program} -F {config} "$@"
"""


def write_config(directory: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the configuration of ssh for one test, and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "config"
    config.write_text(text, encoding="utf-8")
    for name in ("ssh", "sftp", "scp"):
        program = directory / name
        real = shutil.which(name)
        assert real, f"{name} is not installed (Debian: apt install openssh-client)"
        if not program.exists():
            program.write_text(PROGRAM.format(program=real, config=config), encoding="utf-8")
            program.chmod(0o755)
    if not os.environ["PATH"].startswith(f"{directory}:"):
        monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return config


def describe_host(alias: str, server: SshServer, *lines: str, with_key: bool = True) -> str:
    """Return the block of an alias for a server."""
    key = [f"IdentityFile {server.client_key}"] if with_key else []
    words = [f"HostName {server.address}", f"Port {server.port}", f"User {server.user}", *key, *lines]
    return "\n".join([f"Host {alias}", *(f"    {word}" for word in words), ""])


def describe_jump_host(alias: str, server: SshServer, directory: Path) -> str:
    """Return the block of a jump host, whose key the user has accepted in a file of their own."""
    known_hosts = directory / f"known_hosts_{alias}"
    known_hosts.write_text(f"[{server.address}]:{server.port} {server.public_key}\n", encoding="ascii")
    return describe_host(alias, server, f"UserKnownHostsFile {known_hosts}", "StrictHostKeyChecking yes")
