# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a playbook and gives its events, one after the other, to a function. Nothing else touches ansible-runner.

ansible-runner drives `ansible-playbook` in a thread; its events come through a queue to the thread that called, so
that drawing a table never slows Ansible down (ansible-runner#1343: a slow handler ends in a time-out).
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ansible_runner

from noslop_driver import studio_lock
from noslop_driver.ansible import remote_stop
from noslop_driver.ansible.config import environment
from noslop_driver.ansible.events import ENDED, Event, Failure, HostStats, Outcome, Status, failure_of, read_stats
from noslop_driver.ansible.watchdog import DONE, Orders, children, remove_password_memory, send_orders, socket_address
from noslop_driver.errors import UsageError
from noslop_driver.secrets import Secrets, private_directory, write_private

STOP_GRACE_S = 20.0
"""How long ansible-playbook may take to end after the interrupt, before it is killed."""

_RC_CANCELLED = 254
_RC_NO_PROGRAM = 127


@dataclass
class _Progress:
    """What is known of a run so far."""

    pid: int | None = None
    running: dict[str, set[str]] = field(default_factory=dict)
    """Host to the tasks that it has begun and not ended."""
    stats: dict[str, HostStats] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    rc: int | None = None

    def follow(self, raw: Mapping[str, Any]) -> Event | None:
        if raw.get("event") == "playbook_on_start":
            self.pid = raw.get("pid")
        event = Event.from_runner(raw)
        if event is None or event.kind == "error":
            text = str(raw.get("stdout") or "").strip()
            if text and raw.get("event") in ("verbose", "error"):
                self.output.append(text)
        if event is None:
            return None
        if event.kind == "start":
            self.running.setdefault(event.host, set()).add(event.task)
        elif event.kind in ENDED:
            self.running.pop(event.host, None)
        elif event.kind == "stats":
            self.stats = read_stats(event)
        failure = failure_of(event)
        if failure:
            self.failures.append(failure)
        return event

    def outcome(self, *, interrupted: bool) -> Outcome:
        # A task that failed and was rescued is not a failure of its host.
        failures = [
            failure
            for failure in self.failures
            if not self.stats or (host := self.stats.get(failure.host)) is None or host.failed or host.unreachable
        ]
        rc = self.rc if self.rc is not None else _RC_CANCELLED
        if interrupted:
            status = Status.INTERRUPTED
        elif rc == 0:
            status = Status.OK
        elif any(stats.unreachable for stats in self.stats.values()):
            status = Status.UNREACHABLE
        elif any(stats.failed for stats in self.stats.values()):
            status = Status.FAILED
        else:
            status = Status.ERROR
        output = "\n".join(dict.fromkeys(self.output)) if status is Status.ERROR else ""
        if rc == _RC_NO_PROGRAM and status is Status.ERROR:
            output = output or "ansible-playbook was not found beside this Python. Install ansible-core there."
        return Outcome(status=status, rc=rc, stats=self.stats, failures=failures, output=output)


class _Playbook:
    """One `ansible-playbook` process, its thread and its queue."""

    def __init__(self, arguments: dict[str, Any], orders: Orders) -> None:
        """Start it; `orders` are what its watchdog asks for."""
        self.progress = _Progress()
        self._orders = orders
        self._connections: list[socket.socket] = []
        self._messages: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._arguments = arguments
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="ansible-runner", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        def handle(event: Mapping[str, Any]) -> bool:
            self._messages.put(event)
            return False  # it need not be written to a file

        try:
            with _listen(self._orders) as listener:
                threading.Thread(target=self._instruct, args=(listener,), name="watchdog", daemon=True).start()
                try:
                    run = ansible_runner.run(
                        event_handler=handle, cancel_callback=self._cancelled.is_set, **self._arguments
                    )
                finally:
                    with contextlib.suppress(OSError):
                        listener.shutdown(socket.SHUT_RDWR)  # ends a wait for a program that never asked
            self.progress.rc = run.rc
        except Exception as error:  # raised again in the thread that waits
            self._error = error
        finally:
            self._messages.put(None)

    def _instruct(self, listener: socket.socket) -> None:
        """Send the orders to the watchdog, and keep the connection: that it closes says that the driver ended."""
        with contextlib.suppress(OSError):  # the program ended before it asked
            connection, _address = listener.accept()
            self._connections.append(connection)
            send_orders(connection, self._orders, studio_lock.descriptors())

    def release(self) -> None:
        """Tell the watchdog that nothing is left to be ended."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.sendall(DONE)
            connection.close()
        self._connections.clear()

    def follow(self, on_event: Callable[[Event], None], *, timeout_s: float | None = None) -> None:
        """Hand on events until the process has ended.

        Raises:
            TimeoutError: it has not, within `timeout_s`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            try:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                raw = self._messages.get(timeout=left)
            except queue.Empty as error:
                raise TimeoutError from error
            if raw is None:
                break
            event = self.progress.follow(raw)
            if event is not None:
                on_event(event)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def interrupt(self, on_event: Callable[[Event], None]) -> list[int]:
        """End the process as Ctrl-C would, and kill it when it does not listen.

        Runner's own way kills only the process, not its workers; ansible-playbook passes the signal on to them.

        Returns:
            The process ids that its workers had.
        """
        workers: list[int] = []
        if self.progress.pid is None:
            self._cancelled.set()  # nothing was begun on any host yet
        else:
            workers = children(self.progress.pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.progress.pid, signal.SIGINT)
        try:
            self.follow(on_event, timeout_s=STOP_GRACE_S)
        except TimeoutError:
            self.kill()
        return workers

    def kill(self) -> None:
        """End the process and its group at once."""
        self._cancelled.set()
        if self.progress.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(os.getpgid(self.progress.pid), signal.SIGKILL)
        self._thread.join(STOP_GRACE_S)


def run_playbook(
    playbook: str | Path,
    inventory: Path,
    *,
    on_event: Callable[[Event], None] = lambda _event: None,
    on_interrupt: Callable[[str], None] = lambda _message: None,
    secrets: Secrets | None = None,
    extra_vars: Mapping[str, Any] | None = None,
    limit: str | None = None,
    check: bool = False,
    after_kill: str = "",
) -> Outcome:
    """Run a playbook to its end and say how it ended.

    Args:
        playbook: a path, or the name of one in a collection such as `noslop.studio.storage`.
        inventory: an inventory directory or file; facts are cached in its `.noslop/cache/facts` when it has one.
        on_event: called for each event, in the thread that called this function.
        on_interrupt: told, in a sentence each time, what is done about Ctrl-C.
        secrets: passwords for SSH and sudo.
        extra_vars: values that win over the inventory's. No secrets: they go into a file that Ansible reads.
        limit: a host pattern.
        check: predict, change nothing.
        after_kill: a playbook that is run when this process was killed meanwhile, and nothing is left on the hosts.

    Returns:
        The outcome. Ctrl-C ends the tasks on the hosts too, and gives the status `interrupted`.
    """
    secrets = secrets or Secrets()
    with private_directory("noslop-run-") as private:
        arguments = _arguments(playbook, inventory, private, extra_vars=extra_vars or {}, limit=limit, check=check)
        orders = _orders(inventory, private, secrets, limit, after_kill)
        run = _Playbook(arguments, orders)
        try:
            run.follow(on_event)
            return run.progress.outcome(interrupted=False)
        except KeyboardInterrupt:
            left = _stop(run, inventory, on_event, on_interrupt, secrets)
            return replace(run.progress.outcome(interrupted=True), left_running=left)
        except BaseException:
            run.kill()
            raise
        finally:
            remove_password_memory(orders.started)
            run.release()


def list_inventory(inventory: Path) -> dict[str, Any]:
    """What `ansible-inventory --list` says: groups, hosts and their variables, whoever wrote them and in what form.

    Raises:
        UsageError: Ansible cannot read it.
    """
    with private_directory("noslop-list-") as private:
        done = subprocess.run(
            ["ansible-inventory", "--inventory", str(inventory.resolve()), "--list"],
            env={**os.environ, **environment(inventory, private), "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True"},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise UsageError(f"{inventory}: Ansible cannot read this inventory. It says: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _stop(
    run: _Playbook,
    inventory: Path,
    on_event: Callable[[Event], None],
    on_interrupt: Callable[[str], None],
    secrets: Secrets,
) -> list[str]:
    """End a run and what it left on the hosts. Returns the hosts on which something may still run."""
    busy = sorted(run.progress.running)
    stop: _Playbook | None = None
    try:
        on_interrupt("Stopping. Press Ctrl-C again to leave at once.")
        workers = run.interrupt(on_event)
        if not busy:
            return []
        # An SSH connection that goes away ends nothing on the other side (ansible#87327).
        on_interrupt(f"Ending what was running on {', '.join(busy)}.")
        with private_directory("noslop-stop-") as private:
            playbook = write_private(private / "stop.yml", remote_stop.playbook(workers))
            limit = ",".join(busy)
            arguments = _arguments(playbook, inventory, private, extra_vars={}, limit=limit, check=False)
            stop = _Playbook(arguments, _orders(inventory, private, secrets, limit))
            stop.follow(lambda _event: None)
        stats = stop.progress.stats
        stopped = {host for host, counts in stats.items() if not counts.failed and not counts.unreachable}
        return [host for host in busy if host not in stopped]
    except KeyboardInterrupt:
        run.kill()
        if stop:
            stop.kill()
        return busy
    finally:
        if stop:
            stop.release()


def _listen(orders: Orders) -> socket.socket:
    """Listen where the watchdog asks for its orders."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with socket_address(Path(orders.private)) as address:
        listener.bind(address)
    listener.listen(1)
    return listener


def _orders(inventory: Path, private: Path, secrets: Secrets, limit: str | None, after_kill: str = "") -> Orders:
    """Return what the watchdog of a run is to know."""
    passwords = {"ssh": secrets.ssh_password, "become": secrets.become_password}
    return Orders(
        private=str(private),
        driver_pid=os.getpid(),
        started=time.time(),
        stop=["--inventory", str(inventory.resolve()), *(["--limit", limit] if limit else [])],
        after_kill=after_kill,
        passwords={name: password for name, password in passwords.items() if password},
    )


def _arguments(
    playbook: str | Path,
    inventory: Path,
    private: Path,
    *,
    extra_vars: Mapping[str, Any],
    limit: str | None,
    check: bool,
) -> dict[str, Any]:
    """Return what ansible-runner is called with."""
    # -P: a file of the directory the user is in is not taken for a module.
    command = ["-P", "-m", "noslop_driver.ansible.watchdog", str(private)]
    if extra_vars:
        command += ["--extra-vars", f"@{write_private(private / 'vars.json', json.dumps(dict(extra_vars)))}"]
    if check:
        command.append("--check")
    runner_directory = private / "runner"
    runner_directory.mkdir(mode=0o700)
    return {
        "private_data_dir": str(runner_directory),
        # The directory the user is in: relative paths mean what they mean there, and Ansible finds its ansible.cfg.
        "project_dir": str(Path.cwd()),
        # The watchdog becomes ansible-playbook. Runner adds inventory and limit to a program of another name, but no
        # playbook.
        "binary": sys.executable,
        "inventory": str(inventory.resolve()),
        "limit": limit,
        "cmdline": shlex.join([*command, str(playbook)]),
        "envvars": environment(inventory, private),
        "quiet": True,
        # Files of an earlier run would win over what is passed here, and passwords would be written in clear
        # (ansible-runner#493, #1440). With this, `settings` is ignored and `extravars` would show in `ps`: neither is
        # used.
        "suppress_env_files": True,
        # Else runner points the fact cache into its own directory, which is removed.
        "fact_cache_type": "none",
    }
