# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Add a public key to an account on a host, or remove it, through ssh and as that account.

The host's key must be in the given known_hosts. A password goes from memory through a named pipe to the program that
ssh asks for it; a jump host gets none.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from noslop_driver.hosts.ssh_config import list_batch_proxy
from noslop_driver.models import Endpoint
from noslop_driver.secrets import private_directory, write_private

_CONNECT_S = 20
_LIMIT_S = 120
_OPTIONS = (
    *("GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=yes", "VerifyHostKeyDNS=no", "UpdateHostKeys=no"),
    *("ControlPath=none", "ForwardAgent=no", "ForwardX11=no", "ClearAllForwardings=yes", "RemoteCommand=none"),
    *("IdentitiesOnly=yes", "GSSAPIAuthentication=no", "HostbasedAuthentication=no", "LogLevel=ERROR"),
    f"ConnectTimeout={_CONNECT_S}",
)
_WITH_KEY = ("BatchMode=yes", "PreferredAuthentications=publickey")
_WITH_PASSWORD = (
    *("PubkeyAuthentication=no", "PreferredAuthentications=password,keyboard-interactive"),
    "NumberOfPasswordPrompts=1",
)
_PIPE = "NOSLOP_PASSWORD_PIPE"
_ASKPASS = f'#!/bin/sh\nIFS= read -r line < "${_PIPE}" && printf "%s\\n" "$line"\n'
_ANSWERS = ("added", "present", "removed", "absent")

# For every POSIX shell. The lines of other keys stay as they are; sshd ignores a file that others may write to.
_SCRIPT = """\
set -eu
umask 077
cd "$HOME"
line={line}
key={key}
has_key() {{ [ -f "$file" ] && grep -v '^[[:space:]]*#' "$file" | grep -qF -e "$key"; }}
if [ {action} = add ]; then
    mkdir -p .ssh
    chmod 700 .ssh
    touch .ssh/authorized_keys
    chmod 600 .ssh/authorized_keys
    file=.ssh/authorized_keys
    if has_key; then echo noslop: present; exit 0; fi
    if [ -s "$file" ] && [ -n "$(tail -c 1 "$file")" ]; then echo >> "$file"; fi
    printf '%s\\n' "$line" >> "$file"
    echo noslop: added
else
    file=$(readlink -f .ssh/authorized_keys || true)
    if ! has_key; then echo noslop: absent; exit 0; fi
    grep -vF -e "$key" "$file" > "$file.noslop" || true
    chmod 600 "$file.noslop"
    mv "$file.noslop" "$file"
    echo noslop: removed
fi
"""


@dataclass(frozen=True)
class PublicKey:
    """A public key, and the path of its private key."""

    path: Path
    line: str
    """The line of authorized_keys: type, key, comment."""

    @property
    def text(self) -> str:
        """Return the type and the key, without the comment."""
        return " ".join(self.line.split()[:2])


@dataclass(frozen=True)
class Answer:
    """The result of a login."""

    state: str = ""
    """added, present, removed, absent; empty if the login or the change failed."""
    ok: bool = False
    message: str = ""
    """The output of ssh and the host, where it failed."""


def try_key(host: Endpoint, key: PublicKey, known_hosts: Path) -> Answer:
    """Log in with the key only, and do nothing."""
    return _run(host, key, known_hosts, "echo noslop: present\n", password=None)


def change(host: Endpoint, key: PublicKey, known_hosts: Path, *, remove: bool, password: str | None) -> Answer:
    """Add the key to the account's authorized_keys, or remove it. Without a password, log in with the key."""
    script = _SCRIPT.format(line=shlex.quote(key.line), key=shlex.quote(key.text), action="remove" if remove else "add")
    return _run(host, key, known_hosts, script, password=password)


def _run(host: Endpoint, key: PublicKey, known_hosts: Path, script: str, *, password: str | None) -> Answer:
    """Run a script of the shell on a host, and return its answer."""
    login = _WITH_KEY if password is None else _WITH_PASSWORD
    options = [*_OPTIONS, *login, f"Port={host.port}", f"User={host.user}"]
    options += [f'UserKnownHostsFile="{known_hosts.absolute()}"', f'IdentityFile="{key.path}"']
    command = [
        "ssh",
        "-T",
        *list_batch_proxy(host.ssh, _PIPE),
        *(word for option in options for word in ("-o", option)),
    ]
    with _serve_password(password) as environment:
        try:
            done = subprocess.run(
                [*command, "--", host.address, "sh -s"],
                input=script,
                env={**os.environ, **environment},
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_LIMIT_S,
                check=False,
                start_new_session=True,  # without a terminal, ssh asks the program of the environment, or nothing
            )
        except subprocess.TimeoutExpired:
            return Answer(message=f"timed out after {_LIMIT_S} s")
    answer = re.search(r"^noslop: (\w+)$", done.stdout, re.MULTILINE)
    if done.returncode == 0 and answer and answer[1] in _ANSWERS:
        return Answer(answer[1], ok=True)
    return Answer(message=done.stderr.strip() or f"the command there ended with {done.returncode}")


@contextlib.contextmanager
def _serve_password(password: str | None) -> Iterator[Mapping[str, str]]:
    """Return the variables with which ssh gets the password, as often as it asks for it while the context is open."""
    if password is None:
        yield {"SSH_ASKPASS_REQUIRE": "never"}
        return
    with private_directory("noslop-password-") as private, contextlib.ExitStack() as stack:
        pipe = private / "password"
        os.mkfifo(pipe, 0o600)
        program = write_private(private / "askpass", _ASKPASS)
        program.chmod(0o700)
        if not os.access(program, os.X_OK):  # a file system without programs, as /dev/shm is in some containers
            elsewhere = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="noslop-askpass-")))
            program = write_private(elsewhere / "askpass", _ASKPASS)
            program.chmod(0o700)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError), pipe.open("w", encoding="utf-8") as file:
                    if not ended.is_set():
                        file.write(f"{password}\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield {
                "SSH_ASKPASS": str(program),
                "SSH_ASKPASS_REQUIRE": "force",
                "DISPLAY": os.environ.get("DISPLAY", ":0"),  # an OpenSSH before 8.4 asks the program only with one
                _PIPE: str(pipe),
            }
        finally:
            ended.set()
            reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # ends the wait of the thread
            thread.join()
            os.close(reader)
