# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start real SSH servers on loopback addresses, each with its own host key, for tests that connect to hosts."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CONFIG = """\
AuthorizedKeysFile {directory}/authorized_keys
HostKey {directory}/host_key
KbdInteractiveAuthentication no
LogLevel VERBOSE
PasswordAuthentication no
PermitRootLogin prohibit-password
PidFile none
StrictModes no
Subsystem sftp internal-sftp
UsePAM no
"""

FAKE_SUDO = """\
#!/bin/sh
# Asks for a password as sudo(8) does, logs it, and runs the command.
prompt=
while [ $# -gt 0 ]; do
    case "$1" in
        -n) echo "sudo: a password is required" >&2; exit 1;;
        -p) prompt=$2; shift 2;;
        -u) shift 2;;
        -*) shift;;
        *) break;;
    esac
done
printf %s "$prompt" >&2
IFS= read -r line
echo "$line" >> {log}
[ "$line" = "{password}" ] || {{ echo "Sorry, try again." >&2; exit 1; }}
exec "$@"
"""
"""A sudo that asks root for a password too, unlike the real one."""

FAKE_SUDO_RS = (
    FAKE_SUDO.replace("as sudo(8) does", "as sudo-rs does")
    .replace("a password is required", "interactive authentication is required")
    .replace('printf %s "$prompt" >&2', 'printf "[sudo: %s] Password: " "$prompt" >&2')
    .replace("Sorry, try again.", "sudo: Authentication failed, try again.")
)
"""The same with the prompt and the messages of sudo-rs."""


@dataclass(frozen=True)
class SshServer:
    """A running sshd. The account that runs the tests may log in with `client_key`."""

    addresses: tuple[str, ...]
    port: int
    host_key: Path
    client_key: Path
    process: subprocess.Popen[str]
    user: str = field(default_factory=getpass.getuser)
    log: list[str] = field(default_factory=list)
    """The lines of its log so far."""
    line_added: threading.Condition = field(default_factory=threading.Condition, repr=False)
    """The condition that is notified of each line of the log."""

    @property
    def address(self) -> str:
        return self.addresses[0]

    @property
    def public_key(self) -> str:
        """Return the public host key as `<type> <base64>`."""
        return " ".join(self.host_key.with_suffix(".pub").read_text(encoding="ascii").split()[:2])

    @property
    def fingerprint(self) -> str:
        """Return the fingerprint as ssh-keygen prints it."""
        shown = subprocess.run(["ssh-keygen", "-lf", self.host_key], capture_output=True, check=True, text=True).stdout
        return shown.split()[1]

    @property
    def host(self) -> str:
        """Return `address:port`, the form of the driver's --host."""
        return f"{self.address}:{self.port}"

    def complete_log(self) -> list[str]:
        """Return the complete log until now: make a connection, and wait until it is in the log."""
        with socket.create_connection((self.address, self.port)) as mark:
            port = mark.getsockname()[1]
            with self.line_added:
                self.line_added.wait_for(lambda: any(f"port {port} on" in line for line in self.log))
                return list(self.log)

    def stop(self) -> None:
        """End the server and its open connections (Ansible keeps connections open for minutes)."""
        session_list = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        sessions = session_list.read_text(encoding="ascii").split() if session_list.exists() else []
        self.process.terminate()
        self.process.wait()
        for session in sessions:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(session), signal.SIGTERM)


def sshd_path() -> str | None:
    """Return the full path of sshd, which it must be started with; None if it is not installed."""
    return shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def free_port(*addresses: str) -> int:
    """Return a TCP port that is free on all `addresses`."""
    while True:
        with socket.socket() as first:
            first.bind((addresses[0], 0))
            port = int(first.getsockname()[1])
            others = [socket.socket() for _ in addresses[1:]]
            try:
                for other, address in zip(others, addresses[1:], strict=True):
                    other.bind((address, port))
            except OSError:
                continue
            finally:
                for other in others:
                    other.close()
            return port


def make_key(path: Path, kind: str = "ed25519") -> Path:
    """Make a key pair without a passphrase at `path` and `path`.pub, unless there is one."""
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", path], check=True)
    return path


def fake_sudo(directory: Path, accepts: str = "none is right", text: str = FAKE_SUDO) -> Path:
    """Make `directory`/sudo, which accepts one password; return the log of the passwords it got."""
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "passwords"
    log.touch()
    program = directory / "sudo"
    quoted = accepts.replace("\\", "\\\\").replace('"', '\\"')
    program.write_text(text.format(log=log, password=quoted), encoding="utf-8")
    program.chmod(0o755)
    return log


def with_path(directory: Path) -> str:
    """Return the line of sshd_config that puts a directory first in PATH."""
    return f"SetEnv PATH={directory}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def accept_any_key() -> list[str]:
    """Return the lines of sshd_config that accept any key."""
    echo = shutil.which("echo")
    return [
        "AuthorizedKeysFile none",
        f"AuthorizedKeysCommand {echo} %t %k",
        f"AuthorizedKeysCommandUser {getpass.getuser()}",
        "PermitRootLogin yes",
    ]


def claim_systemd(directory: Path) -> list[str]:
    """Return the lines of sshd_config that make a host's facts claim systemd as service manager."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "claim_systemd"
    claim = 's/("ansible_service_mgr": )"[^"]*"/\\1"systemd"/'
    script = f"#!/bin/bash\nset -o pipefail\n/bin/sh -c \"$SSH_ORIGINAL_COMMAND\" | sed -E '{claim}'\n"
    program.write_text(script, encoding="utf-8")
    program.chmod(0o755)
    return [f"ForceCommand {program}"]


def ask_for_passwords() -> list[str]:
    """Return the lines of sshd_config that accept no key, and log each password that is tried."""
    return ["PubkeyAuthentication no", "PasswordAuthentication yes", "PermitRootLogin yes"]


def with_root_password(directory: Path, password: str) -> list[str]:
    """Return the command that gives root a password in the eyes of the program that it becomes. Only root can run it.

    The program has an /etc/shadow of its own, which nothing else on the computer has.
    """
    directory.mkdir(parents=True, exist_ok=True)
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=f"{password}\n", capture_output=True, check=True, text=True
    ).stdout.strip()
    shadow = directory / "shadow"
    shadow.write_text(f"root:{hashed}:19000:0:99999:7:::\nsshd:!:19000::::::\n", encoding="ascii")
    return ["unshare", "--mount", "sh", "-c", f'mount --bind {shadow} /etc/shadow && exec "$@"', "sh"]


def start(
    directory: Path,
    client_key: Path,
    addresses: Sequence[str] = ("127.0.0.1",),
    *,
    port: int | None = None,
    options: Sequence[str] = (),
    key_type: str = "ed25519",
    prefix: Sequence[str] = (),
) -> SshServer:
    """Start a server and wait until it listens on all `addresses`.

    `options` are lines of sshd_config that override `CONFIG`. A `directory` that an earlier server used keeps its
    host key. `prefix` is a command that becomes sshd.
    """
    program = sshd_path()
    assert program, "sshd is not installed (Debian: apt install openssh-server)"
    assert all(address.startswith("127.") for address in addresses), "tests listen on loopback only"
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd needs it when run by root
    directory.mkdir(parents=True, exist_ok=True)
    host_key = make_key(directory / "host_key", key_type)
    shutil.copy(client_key.with_suffix(".pub"), directory / "authorized_keys")
    port = port or free_port(*addresses)
    listen = [f"ListenAddress {address}:{port}" for address in addresses]
    config = directory / "sshd_config"
    config.write_text("\n".join([*options, *listen, CONFIG.format(directory=directory)]), encoding="utf-8")
    process = subprocess.Popen([*prefix, program, "-D", "-e", "-f", config], stderr=subprocess.PIPE, text=True)
    server = SshServer(tuple(addresses), port, host_key, client_key, process)
    assert process.stderr
    while sum("Server listening on" in line for line in server.log) < len(addresses):
        line = process.stderr.readline()
        assert line, f"sshd did not start: {server.log}"
        server.log.append(line)
    threading.Thread(target=_follow, args=(process.stderr, server), daemon=True).start()
    return server


def _follow(lines: Iterable[str], server: SshServer) -> None:
    for line in lines:
        with server.line_added:
            server.log.append(line)
            server.line_added.notify_all()
