# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start ansible-playbook with its passwords, and end it when the driver is killed.

ansible-runner starts this program in place of `ansible-playbook`. It gets its configuration (`WatchdogConfig`) from the
driver, over a socket in the run's private directory, starts a process that watches the connection, and becomes
`ansible-playbook` itself. The connection closes when the driver ends, however it ends. If the driver has not sent
`done` before, the watching process ends ansible-playbook, then its tasks on the hosts, and removes the private files.

A password is in no file: it goes from the driver's memory through the socket into a named pipe that ansible-playbook
reads once, or, if it is one host's or has a blank at an end, which Ansible removes there, into a file without a name in
memory. The lock of the inventory is inherited, so that no second run starts before all of this has ended.
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
"""The message of the driver that a run has ended, on the hosts too."""

INTERRUPT_GRACE_S = 5.0
"""The time that ansible-playbook gets to clean up after the interrupt, before it is killed."""
STOP_TIMEOUT_S = remote_stop.WAIT_FOR_PACKAGES_S + 60.0
"""The time limit for ending the tasks on the hosts."""

_MAX_DESCRIPTORS = 8
_MAX_SEGMENT_BYTES = 16384
"""The size of the shared memory in which ansible-core's SSH plugin passes a password (plugins/connection/ssh.py)."""
_RUNNER_VARIABLES = ("ANSIBLE_CALLBACK", "ANSIBLE_STDOUT_CALLBACK", "AWX_", "RUNNER_")
"""Variables that make ansible-runner's own plugin print events, which no process reads any more."""


@dataclass(frozen=True)
class WatchdogConfig:
    """The configuration of the watchdog for one run of ansible-playbook."""

    private: str
    """The run's private directory, removed after the driver was killed."""
    driver_pid: int
    started: float
    """The start of the run, in seconds since 1970."""
    stop: list[str]
    """Arguments of the ansible-playbook that ends the tasks on the hosts, without passwords and playbook."""
    after_kill: str = ""
    """A playbook to run after the driver was killed and the tasks on the hosts have ended; empty for none."""
    passwords: dict[str, str] = field(default_factory=dict, repr=False)
    """The passwords `ssh` and `become`; each may be missing."""
    secret_inventory: str = field(default="", repr=False)
    """An inventory with the passwords that options cannot give; empty for none."""

    def password_options(self) -> list[str]:
        """Return the options of ansible-playbook with the paths of the password pipes."""
        names = {"ssh": "--connection-password-file", "become": "--become-password-file"}
        return [word for name in self.passwords for word in (names[name], str(Path(self.private, name)))]


def send_config(connection: socket.socket, config: WatchdogConfig, descriptors: list[int]) -> None:
    """Send the configuration, and descriptors that have to stay open as long as the run."""
    data = json.dumps(asdict(config)).encode() + b"\n"
    socket.send_fds(connection, [data[:1]], descriptors)
    connection.sendall(data[1:])


def receive_config(connection: socket.socket) -> tuple[WatchdogConfig, list[int]]:
    """Receive the configuration and the descriptors of `send_config`.

    Raises:
        EOFError: the driver ended before it had sent everything.
    """
    data, descriptors, _flags, _address = socket.recv_fds(connection, 1, _MAX_DESCRIPTORS)
    while not data.endswith(b"\n"):
        part = connection.recv(65536)
        if not part:
            raise EOFError("the driver ended before it had started the playbook")
        data += part
    return WatchdogConfig(**json.loads(data)), list(descriptors)


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
        config, descriptors = receive_config(connection)
    except (OSError, EOFError) as error:
        sys.exit(f"The watchdog cannot get its configuration from the driver: {error}")
    playbook = os.getpid()
    for name in config.passwords:
        os.mkfifo(Path(config.private, name), 0o600)
    child = os.fork()
    if child == 0:
        _watch(connection, config, playbook)
    os.waitpid(child, 0)
    connection.close()
    if config.secret_inventory:
        descriptors.append(open_in_memory(config.secret_inventory))
        # The last inventory: the studio's directory stays the first, which `inventory_dir` is.
        arguments += ["--inventory", f"/proc/self/fd/{descriptors[-1]}"]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    command = ["ansible-playbook", *config.password_options(), *arguments]
    try:
        os.execvp(command[0], command)  # noqa: S606 - there is no shell to be asked for
    except FileNotFoundError:
        sys.exit(127)


def _watch(connection: socket.socket, config: WatchdogConfig, playbook: int) -> None:
    """Wait for the driver's end in a separate process, outside of the session of ansible-playbook. Never return."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):  # ansible-runner waits until no process has its terminal open
            os.dup2(null, descriptor)
        started = start_time(playbook)
        with open_locked(Path(config.private), fcntl.LOCK_SH):
            _serve_passwords(config)
            with contextlib.suppress(ConnectionError):
                if connection.recv(len(DONE)) == DONE:
                    os._exit(0)
            workers = end_playbook(playbook) if start_time(playbook) == started else []
            stop = Path(config.private, "stop-killed.yml")
            stop.write_text(remote_stop.render_playbook(workers), encoding="utf-8")
            if _run(config, str(stop)) and config.after_kill:
                _run(config, config.after_kill)
            remove_private_files(config)
    finally:
        os._exit(1)


def open_in_memory(text: str) -> int:
    """Return a descriptor of a file that has no name, and that ends with the processes that have it open."""
    descriptor = os.memfd_create("noslop-inventory")
    os.fchmod(descriptor, 0o600)  # Ansible runs an inventory that is executable
    with os.fdopen(os.dup(descriptor), "w", encoding="utf-8") as file:
        file.write(text)
    return descriptor


def end_playbook(pid: int) -> list[int]:
    """End ansible-playbook and its workers: first with SIGINT, so that it cleans up, then with SIGKILL.

    Returns:
        The process ids of its workers.
    """
    workers = list_workers(pid)
    _signal(pid, signal.SIGINT)
    deadline = time.monotonic() + INTERRUPT_GRACE_S
    while any(map(is_alive, [pid, *workers])) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in dict.fromkeys([pid, *workers, *list_workers(pid)]):
        # Each worker leads a process group of its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process, signal.SIGKILL)
    return workers


def list_workers(pid: int) -> list[int]:
    """Return the ids of the processes that a process has started; none where the system has no /proc."""
    try:
        return [int(worker) for worker in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] not in (b"Z", b"X")
    except OSError:
        return not Path("/proc/self").exists()  # the process ended meanwhile, or the system has no /proc


def remove_password_memory(since: float) -> None:
    """Remove this account's shared memory, newer than `since`, in which ansible-core's SSH plugin left a password.

    A worker removes its segment after each connection, unless it is ended meanwhile.
    """
    for path in Path("/dev/shm").glob("psm_*"):  # noqa: S108 - the directory of multiprocessing.shared_memory
        with contextlib.suppress(OSError, ValueError):
            status = path.lstat()
            if status.st_uid == os.getuid() and status.st_size <= _MAX_SEGMENT_BYTES and status.st_mtime >= since - 1:
                content = json.loads(path.read_bytes().rstrip(b"\0"))
                if isinstance(content, dict) and content.keys() == {"password", "prompt"}:
                    path.unlink()


def remove_private_files(config: WatchdogConfig) -> None:
    """Remove every private directory of the driver, and passwords in shared memory."""
    private = Path(config.private)
    for path in [*private.parent.glob(f"noslop-*-{config.driver_pid}-*"), private]:
        shutil.rmtree(path, ignore_errors=True)
    remove_password_memory(config.started)


def _serve_passwords(config: WatchdogConfig) -> None:
    """Start a thread for each password, which writes it into its pipe as soon as ansible-playbook opens that."""

    def write_password(path: Path, password: str) -> None:
        with contextlib.suppress(OSError), path.open("w", encoding="utf-8") as pipe:
            pipe.write(password)

    for name, password in config.passwords.items():
        threading.Thread(target=write_password, args=(Path(config.private, name), password), daemon=True).start()


def _run(config: WatchdogConfig, playbook: str) -> bool:
    """Run a playbook on the hosts of the run without output, and return whether it succeeded.

    Closing a connection ends no process on a host (ansible#87327), so a first playbook ends them.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_RUNNER_VARIABLES)}
    _serve_passwords(config)
    descriptors = [open_in_memory(config.secret_inventory)] if config.secret_inventory else []
    more = [word for descriptor in descriptors for word in ("--inventory", f"/proc/self/fd/{descriptor}")]
    try:
        done = subprocess.run(
            ["ansible-playbook", *config.stop, *more, *config.password_options(), playbook],
            env=environment,
            pass_fds=descriptors,
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
    """Return the start time of a process in ticks since boot (proc_pid_stat(5)): a process id may be reused later."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2].split()[19]
    except OSError:
        return ""


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    main()
