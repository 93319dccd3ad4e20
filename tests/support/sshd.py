# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real SSH servers on loopback addresses, each with its own host key, for the tests of whatever speaks to hosts."""

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
# Asks for a password as sudo(8) does, writes down what it gets, and runs the command.
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
read -r line
echo "$line" >> {log}
[ "$line" = "{password}" ] || {{ echo "Sorry, try again." >&2; exit 1; }}
exec "$@"
"""
"""A sudo that wants a password from root too, whom the real one asks for none."""


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
    """What it has said so far, a line each; grows while it runs."""
    arrived: threading.Condition = field(default_factory=threading.Condition, repr=False)
    """Notified of each line of the log."""

    @property
    def address(self) -> str:
        return self.addresses[0]

    @property
    def public_key(self) -> str:
        """`<type> <base64>`."""
        return " ".join(self.host_key.with_suffix(".pub").read_text(encoding="ascii").split()[:2])

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen says it."""
        shown = subprocess.run(["ssh-keygen", "-lf", self.host_key], capture_output=True, check=True, text=True).stdout
        return shown.split()[1]

    @property
    def host(self) -> str:
        """`address:port`, as the driver's --host takes it."""
        return f"{self.address}:{self.port}"

    def complete_log(self) -> list[str]:
        """The log with all that was written before this call: a connection is made, and awaited in it."""
        with socket.create_connection((self.address, self.port)) as mark:
            port = mark.getsockname()[1]
            with self.arrived:
                self.arrived.wait_for(lambda: any(f"port {port} on" in line for line in self.log))
                return list(self.log)

    def stop(self) -> None:
        """End it, and the connections that it still serves (Ansible keeps its own open for minutes)."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        sessions = children.read_text(encoding="ascii").split() if children.exists() else []
        self.process.terminate()
        self.process.wait()
        for session in sessions:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(session), signal.SIGTERM)


def sshd_path() -> str | None:
    """The server's full path (it wants to be called by that); None where it is not installed."""
    return shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def free_port(*addresses: str) -> int:
    """A TCP port that nothing listens on at any of `addresses`."""
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
    """A new key pair without a passphrase at `path` (unless one is there) and `path`.pub."""
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", path], check=True)
    return path


def fake_sudo(directory: Path, accepts: str = "none is right") -> Path:
    """Make `directory`/sudo, which takes one password for right; returns the log of what it got."""
    directory.mkdir(parents=True, exist_ok=True)
    log = directory / "passwords"
    log.touch()
    program = directory / "sudo"
    program.write_text(FAKE_SUDO.format(log=log, password=accepts), encoding="utf-8")
    program.chmod(0o755)
    return log


def with_path(directory: Path) -> str:
    """The line of sshd_config that puts a directory before the others in PATH."""
    return f"SetEnv PATH={directory}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def accept_any_key() -> list[str]:
    """The lines of sshd_config with which whatever key is offered opens the account."""
    echo = shutil.which("echo")
    return [
        "AuthorizedKeysFile none",
        f"AuthorizedKeysCommand {echo} %t %k",
        f"AuthorizedKeysCommandUser {getpass.getuser()}",
        "PermitRootLogin yes",
    ]


def claim_systemd(directory: Path) -> list[str]:
    """The lines of sshd_config with which a host says that systemd runs it, whatever does."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "claim_systemd"
    claim = 's/("ansible_service_mgr": )"[^"]*"/\\1"systemd"/'
    script = f"#!/bin/bash\nset -o pipefail\n/bin/sh -c \"$SSH_ORIGINAL_COMMAND\" | sed -E '{claim}'\n"
    program.write_text(script, encoding="utf-8")
    program.chmod(0o755)
    return [f"ForceCommand {program}"]


def ask_for_passwords() -> list[str]:
    """The lines of sshd_config with which no key opens the account, and each password that is tried is in the log."""
    return ["PubkeyAuthentication no", "PasswordAuthentication yes", "PermitRootLogin yes"]


def start(
    directory: Path,
    client_key: Path,
    addresses: Sequence[str] = ("127.0.0.1",),
    *,
    port: int | None = None,
    options: Sequence[str] = (),
    key_type: str = "ed25519",
) -> SshServer:
    """Start a server and wait until it listens on all `addresses`.

    `options` are lines of sshd_config that win over `CONFIG`. A `directory` that an earlier server used keeps its
    host key.
    """
    program = sshd_path()
    assert program, "sshd is not installed (Debian: apt install openssh-server)"
    assert all(address.startswith("127.") for address in addresses), "tests listen on loopback only"
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd run by root insists on it
    directory.mkdir(parents=True, exist_ok=True)
    host_key = make_key(directory / "host_key", key_type)
    shutil.copy(client_key.with_suffix(".pub"), directory / "authorized_keys")
    port = port or free_port(*addresses)
    listen = [f"ListenAddress {address}:{port}" for address in addresses]
    config = directory / "sshd_config"
    config.write_text("\n".join([*options, *listen, CONFIG.format(directory=directory)]), encoding="utf-8")
    process = subprocess.Popen([program, "-D", "-e", "-f", config], stderr=subprocess.PIPE, text=True)
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
        with server.arrived:
            server.log.append(line)
            server.arrived.notify_all()
