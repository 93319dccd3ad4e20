# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a private key before ssh gets it: ssh skips one that it cannot use, and then every host refuses the login."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

from noslop_driver.errors import DriverError, UsageError

_PUBLIC = re.compile(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+ AAAA")
_PUTTY = "PuTTY-User-Key-File"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_AGENT_MISSING = 2
"""The exit code of ssh-add(1) where it reaches no agent."""


def check_private_key(path: Path, flag: str) -> None:
    """Raise an error for a private key that ssh cannot use without a question.

    A key with a passphrase is good if the agent has it. So is a public key: ssh uses it to select one of the agent.

    Raises:
        UsageError: the key is missing, has another format or mode, or a passphrase that would be asked for.
        DriverError: OpenSSH's tools are missing.
    """
    path = path.expanduser()
    name = shlex.quote(str(path))
    text = _read(path, f"{flag} {path}")
    if _PUBLIC.match(text):
        if _find_in_agent(path) is not True:
            raise UsageError(f"{flag} {path}: this is a public key. {_advise_private_key(path, flag)}")
        return
    if text.startswith(_PUTTY):
        raise UsageError(
            f"{flag} {path}: this is a key of PuTTY, which ssh does not read. Convert it: "
            f"puttygen {name} -O private-openssh -o {shlex.quote(str(path.with_suffix('')))}"
        )
    if "PRIVATE KEY-----" not in text:
        raise UsageError(f"{flag} {path}: this is no private key. Name one, such as ~/.ssh/id_ed25519.")
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == os.getuid() and mode & _OTHERS:
        raise UsageError(
            f"{flag} {path}: other accounts may read it (mode {mode:04o}), so ssh does not use it: chmod 600 {name}"
        )
    done = _run("ssh-keygen", "-y", "-P", "", "-f", str(path))
    if done.returncode == 0:
        return
    if "passphrase" not in done.stderr:
        message = " ".join(done.stderr.split())
        raise UsageError(f"{flag} {path}: ssh cannot read this key ({message}). Copy it again, or name another one.")
    loaded = _find_in_agent(path)
    if loaded is None:
        raise UsageError(
            f"{flag} {path}: this key has a passphrase, and no ssh-agent is running to ask for it once. Start one and "
            f'load the key: eval "$(ssh-agent)"; ssh-add {name}'
        )
    if not loaded:
        raise UsageError(
            f"{flag} {path}: this key has a passphrase, and your ssh-agent does not have the key. Load it: "
            f"ssh-add {name}"
        )


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError as error:
        own = sorted(key.with_suffix("") for key in path.parent.glob("*.pub") if key.with_suffix("").exists())
        there = f"There are {', '.join(map(str, own))}." if own else "Make one with `ssh-keygen -t ed25519`."
        raise UsageError(f"{what}: there is no such file. {there}") from error
    except OSError as error:
        raise UsageError(
            f"{what}: cannot be read ({error.strerror}). Run this as the account that has the key."
        ) from error


def _advise_private_key(path: Path, flag: str) -> str:
    private = path.with_suffix("")
    if path.suffix == ".pub" and private.exists():
        return f"Its private key is beside it: {flag} {private}"
    return "Name the private key that belongs to it, or load that into your ssh-agent (ssh-add)."


def _find_in_agent(path: Path) -> bool | None:
    """Return whether the agent has a key; None if there is no agent."""
    agent = _run("ssh-add", "-l")
    if agent.returncode == _AGENT_MISSING:
        return None
    # Of an encrypted key in OpenSSH's format, the public part can be read; of an older format, `path`.pub is read.
    printed = _run("ssh-keygen", "-l", "-f", str(path))
    fingerprint = re.search(r"SHA256:\S+", printed.stdout)
    return fingerprint is not None and fingerprint.group() in agent.stdout


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    environment: Mapping[str, str] = {**os.environ, "LC_ALL": "C"}
    try:
        return subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise DriverError(
            f"{command[0]} is missing on this computer. Install OpenSSH's client (Debian: apt install openssh-client)."
        ) from error
