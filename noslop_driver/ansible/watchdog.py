# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts ansible-playbook, gives it its passwords, and ends it when the driver is killed.

ansible-runner starts this program in place of `ansible-playbook`. It asks the driver, over a socket in the run's
private directory, for what it needs (`Orders`), starts a process that watches the connection, and becomes
`ansible-playbook` itself. The connection closes when the driver ends, however it ends. Without the word `done` before
that, the watching process ends ansible-playbook, then what it left on the hosts, and removes the private files.

A password is in no file: it goes from the driver's memory through the socket into a named pipe that ansible-playbook
reads once. The lock of the inventory is passed on, so that no second run starts before all of this has ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from noslop_driver.ansible import remote_stop
from noslop_driver.secrets import open_locked

DONE = b"done"
"""What the driver sends when a run has ended and nothing is left to be ended."""

INTERRUPT_GRACE_S = 5.0
"""How long ansible-playbook may clean up after the interrupt, before it is killed."""
STOP_TIMEOUT_S = remote_stop.WAIT_FOR_PACKAGES_S + 60.0
"""How long it may take to end what was left on the hosts."""

_MAX_DESCRIPTORS = 8
_MAX_SEGMENT_BYTES = 16384
"""The size of the shared memory in which ansible-core's SSH plugin passes a password (plugins/connection/ssh.py)."""
_OF_RUNNER = ("ANSIBLE_CALLBACK", "ANSIBLE_STDOUT_CALLBACK", "AWX_", "RUNNER_")
"""Variables with which ansible-runner has its own plugin print the events; nobody reads them any more."""


@dataclass(frozen=True)
class Orders:
    """What the driver wants of one run of ansible-playbook."""

    private: str
    """The run's private directory, removed when the driver was killed."""
    driver_pid: int
    started: float
    """The time of the run's start, in seconds since 1970."""
    stop: list[str]
    """Arguments of the ansible-playbook that ends what was left on the hosts, but for passwords and playbook."""
    after_kill: str = ""
    """A playbook that runs when the driver was killed and nothing is left on the hosts; empty for none."""
    passwords: dict[str, str] = field(default_factory=dict, repr=False)
    """`ssh` and `become`, those of them that there are."""

    def options(self) -> list[str]:
        """Return the options of ansible-playbook that name the pipes of the passwords."""
        names = {"ssh": "--connection-password-file", "become": "--become-password-file"}
        return [word for name in self.passwords for word in (names[name], str(Path(self.private, name)))]


def send_orders(connection: socket.socket, orders: Orders, descriptors: list[int]) -> None:
    """Send the orders, and descriptors that are to stay open as long as the run."""
    data = json.dumps(asdict(orders)).encode() + b"\n"
    socket.send_fds(connection, [data[:1]], descriptors)
    connection.sendall(data[1:])


def receive_orders(connection: socket.socket) -> tuple[Orders, list[int]]:
    """Receive what `send_orders` sent.

    Raises:
        EOFError: the driver ended before it had sent all.
    """
    data, descriptors, _flags, _address = socket.recv_fds(connection, 1, _MAX_DESCRIPTORS)
    while not data.endswith(b"\n"):
        part = connection.recv(65536)
        if not part:
            raise EOFError("the driver ended before it had started the playbook")
        data += part
    return Orders(**json.loads(data)), list(descriptors)


@contextlib.contextmanager
def socket_address(private: Path) -> Iterator[str]:
    """Return the address of the socket in a run's private directory.

    An address has at most 108 bytes (unix(7)), and a path may have more.
    """
    if not Path("/proc/self/fd").is_dir():
        yield str(private / "driver")
        return
    descriptor = os.open(private, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/driver"
    finally:
        os.close(descriptor)


def main() -> None:
    """Watch the driver and become ansible-playbook: `python -m noslop_driver.ansible.watchdog DIRECTORY WORDS`."""
    private, *arguments = sys.argv[1:]
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_address(Path(private)) as address:
            connection.connect(address)
        orders, descriptors = receive_orders(connection)
    except (OSError, EOFError) as error:
        sys.exit(f"The driver cannot be asked for its orders: {error}")
    playbook = os.getpid()
    for name in orders.passwords:
        os.mkfifo(Path(orders.private, name), 0o600)
    child = os.fork()
    if child == 0:
        _watch(connection, orders, playbook)
    os.waitpid(child, 0)
    connection.close()
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    command = ["ansible-playbook", *orders.options(), *arguments]
    try:
        os.execvp(command[0], command)  # noqa: S606 - there is no shell to be asked for
    except FileNotFoundError:
        sys.exit(127)


def _watch(connection: socket.socket, orders: Orders, playbook: int) -> None:
    """Wait for the driver's end in a process of its own, outside of the session of ansible-playbook. Never returns."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):  # runner waits until nobody has its terminal open
            os.dup2(nowhere, descriptor)
        started = start_time(playbook)
        with open_locked(Path(orders.private), fcntl.LOCK_SH):
            _offer(orders)
            with contextlib.suppress(ConnectionError):
                if connection.recv(len(DONE)) == DONE:
                    os._exit(0)
            workers = end_playbook(playbook) if start_time(playbook) == started else []
            stop = Path(orders.private, "stop-killed.yml")
            stop.write_text(remote_stop.playbook(workers), encoding="utf-8")
            if _run(orders, str(stop)) and orders.after_kill:
                _run(orders, orders.after_kill)
            remove_private_files(orders)
    finally:
        os._exit(1)


def end_playbook(pid: int) -> list[int]:
    """End ansible-playbook and its workers: as Ctrl-C does first, so that it cleans up, and by force then.

    Returns:
        The process ids that its workers had.
    """
    workers = children(pid)
    _signal(pid, signal.SIGINT)
    deadline = time.monotonic() + INTERRUPT_GRACE_S
    while any(map(is_alive, [pid, *workers])) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in dict.fromkeys([pid, *workers, *children(pid)]):
        # Each worker leads a process group of its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process, signal.SIGKILL)
    return workers


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children, where the system tells them (Linux)."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and was not waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] not in (b"Z", b"X")
    except OSError:
        return not Path("/proc/self").exists()  # it ended meanwhile, or the system has no /proc


def remove_password_memory(since: float) -> None:
    """Remove shared memory of this account, newer than `since`, in which ansible-core's SSH plugin left a password.

    A worker removes its own after each connection, unless it is ended meanwhile.
    """
    for path in Path("/dev/shm").glob("psm_*"):  # noqa: S108 - where multiprocessing.shared_memory makes them
        with contextlib.suppress(OSError, ValueError):
            status = path.lstat()
            if status.st_uid == os.getuid() and status.st_size <= _MAX_SEGMENT_BYTES and status.st_mtime >= since - 1:
                content = json.loads(path.read_bytes().rstrip(b"\0"))
                if isinstance(content, dict) and content.keys() == {"password", "prompt"}:
                    path.unlink()


def remove_private_files(orders: Orders) -> None:
    """Remove every private directory that the driver had, and passwords in shared memory."""
    private = Path(orders.private)
    for path in [*private.parent.glob(f"noslop-*-{orders.driver_pid}-*"), private]:
        shutil.rmtree(path, ignore_errors=True)
    remove_password_memory(orders.started)


def _offer(orders: Orders) -> None:
    """Write each password into its pipe as soon as ansible-playbook opens it."""

    def offer(path: Path, password: str) -> None:
        with contextlib.suppress(OSError), path.open("w", encoding="utf-8") as pipe:
            pipe.write(password)

    for name, password in orders.passwords.items():
        threading.Thread(target=offer, args=(Path(orders.private, name), password), daemon=True).start()


def _run(orders: Orders, playbook: str) -> bool:
    """Run a playbook on the hosts of the run, which prints nothing, and return whether all went well.

    A connection that goes away ends nothing on a host (ansible#87327), so the first is the one that ends it.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OF_RUNNER)}
    _offer(orders)
    try:
        done = subprocess.run(
            ["ansible-playbook", *orders.stop, *orders.options(), playbook],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=STOP_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def start_time(pid: int) -> str:
    """Return when a process started, in ticks since boot (proc_pid_stat(5)): its number may be another's later."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()[19]
    except OSError:
        return ""


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    main()
