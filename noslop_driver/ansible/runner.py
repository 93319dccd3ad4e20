# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a playbook, and call a function for each of its events. Only this module uses ansible-runner.

ansible-runner drives `ansible-playbook` in a thread; its events come through a queue to the thread that called, so
that drawing a table never slows down Ansible (ansible-runner#1343: a slow handler ends in a time-out).
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ansible_runner

from noslop_driver.ansible import remote_stop, studio_lock
from noslop_driver.ansible.config import make_environment
from noslop_driver.ansible.events import (
    DIFF_EVENT,
    TASK_END_KINDS,
    Event,
    Failure,
    HostStats,
    Outcome,
    Status,
    read_failure,
    read_stats,
)
from noslop_driver.ansible.inventory_list import select_hosts
from noslop_driver.ansible.secret_inventory import render_secret_inventory
from noslop_driver.ansible.watchdog import (
    DONE,
    WatchdogConfig,
    list_workers,
    remove_password_memory,
    send_config,
    socket_address,
)
from noslop_driver.secrets import Secrets, private_directory, write_private

STOP_GRACE_S = 20.0
"""The time that ansible-playbook gets to end after the interrupt, before it is killed."""

_MAX_MESSAGES = 20
"""The number of Ansible's last messages outside of events that are kept, for a playbook that could not be run."""
_RC_CANCELLED = 254
_RC_NO_PROGRAM = 127


@dataclass
class _RunState:
    """The state of a run: its process, running tasks, failures and output."""

    pid: int | None = None
    running: dict[str, set[str]] = field(default_factory=dict)
    """Tasks that have started and not ended, by host."""
    stats: dict[str, HostStats] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    rc: int | None = None

    def update(self, raw: Mapping[str, Any]) -> Event | None:
        """Update the state from an event of ansible-runner, and return the driver's event for it."""
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
        elif event.kind in TASK_END_KINDS:
            self.running.pop(event.host, None)
        elif event.kind == "stats":
            self.stats = read_stats(event)
        failure = read_failure(event)
        if failure:
            self.failures.append(failure)
        return event

    def outcome(self, *, interrupted: bool) -> Outcome:
        """Return the outcome of the run."""
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
        output = "\n".join(dict.fromkeys(self.output[-_MAX_MESSAGES:])) if status is Status.ERROR else ""
        if rc == _RC_NO_PROGRAM and status is Status.ERROR:
            output = output or "ansible-playbook was not found beside this Python. Install ansible-core there."
        return Outcome(status=status, rc=rc, stats=self.stats, failures=failures, output=output)


class _Playbook:
    """An `ansible-playbook` process, its thread and its queue."""

    def __init__(
        self,
        arguments: dict[str, Any],
        config: WatchdogConfig,
        on_output: Callable[[Mapping[str, Any]], None] = lambda _raw: None,
    ) -> None:
        """Start the process; its watchdog asks for `config`.

        `on_output` is called with each event of ansible-runner, in the thread that follows.
        """
        self.state = _RunState()
        self._on_output = on_output
        self._config = config
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
            return False  # the event need not be written to a file

        try:
            with _listen(self._config) as listener:
                threading.Thread(target=self._send_config, args=(listener,), name="watchdog", daemon=True).start()
                try:
                    run = ansible_runner.run(
                        event_handler=handle, cancel_callback=self._cancelled.is_set, **self._arguments
                    )
                finally:
                    with contextlib.suppress(OSError):
                        listener.shutdown(socket.SHUT_RDWR)  # ends the wait for a watchdog that never connected
            self.state.rc = run.rc
        except Exception as error:  # raised again in the thread that waits
            self._error = error
        finally:
            self._messages.put(None)

    def _send_config(self, listener: socket.socket) -> None:
        """Send its configuration to the watchdog, and keep the connection open: it closes when the driver ends."""
        with contextlib.suppress(OSError):  # the watchdog ended before it connected
            connection, _address = listener.accept()
            self._connections.append(connection)
            send_config(connection, self._config, studio_lock.list_descriptors())

    def release(self) -> None:
        """Send the watchdog the message that the run has ended, and close the connection to it."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.sendall(DONE)
            connection.close()
        self._connections.clear()

    def follow(self, on_event: Callable[[Event], None], *, timeout_s: float | None = None) -> None:
        """Call `on_event` for each event until the process has ended.

        Raises:
            TimeoutError: the process has not ended within `timeout_s`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            try:
                remaining_s = None if deadline is None else max(0.0, deadline - time.monotonic())
                raw = self._messages.get(timeout=remaining_s)
            except queue.Empty as error:
                raise TimeoutError from error
            if raw is None:
                break
            event = self.state.update(raw)
            self._on_output(raw)
            if event is not None:
                on_event(event)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def interrupt(self, on_event: Callable[[Event], None]) -> list[int]:
        """End the process as Ctrl-C would, and kill it when it does not end in time.

        ansible-runner's own cancellation kills only the process, not its workers, to which ansible-playbook passes on
        SIGINT.

        Returns:
            The process ids of its workers.
        """
        workers: list[int] = []
        if self.state.pid is None:
            self._cancelled.set()  # no task has started on any host yet
        else:
            workers = list_workers(self.state.pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.state.pid, signal.SIGINT)
        try:
            self.follow(on_event, timeout_s=STOP_GRACE_S)
        except TimeoutError:
            self.kill()
        return workers

    def kill(self) -> None:
        """Kill the process and its group at once."""
        self._cancelled.set()
        if self.state.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(os.getpgid(self.state.pid), signal.SIGKILL)
        self._thread.join(STOP_GRACE_S)


def run_playbook(
    playbook: str | Path,
    inventory: Path,
    *,
    on_event: Callable[[Event], None] = lambda _event: None,
    on_interrupt: Callable[[str], None] = lambda _message: None,
    on_output: Callable[[str], None] = lambda _text: None,
    secrets: Secrets | None = None,
    extra_vars: Mapping[str, Any] | None = None,
    limit: str | None = None,
    tags: Sequence[str] = (),
    check: bool = False,
    verbosity: int = 0,
    diff: bool = False,
    after_kill: str = "",
    forks: int = 0,
) -> Outcome:
    """Run a playbook to its end and return its outcome.

    Args:
        playbook: a path, or the name of a playbook in a collection such as `noslop.studio.storage`.
        inventory: an inventory directory or file; facts are cached in its `.noslop/cache/facts` when it has one.
        on_event: called for each event, in the thread of the caller.
        on_interrupt: called after Ctrl-C with a sentence for each step that is taken.
        on_output: called with each text that Ansible prints, if `verbosity` is above 0, or with its diffs only. Results
            of tasks with `no_log` are not in it.
        secrets: passwords for SSH and sudo.
        extra_vars: variables that override the inventory's. No secrets: they go into a file that Ansible reads.
        limit: a host pattern.
        tags: run the tasks with one of these tags only; all tasks if there are none.
        check: predict changes and make none.
        verbosity: the number of Ansible's own `-v`.
        diff: let Ansible show the differences of the files that it changes.
        after_kill: a playbook to run if this process is killed meanwhile, after the tasks on the hosts have ended.
        forks: the number of hosts at once; 0: that of Ansible's configuration.

    Returns:
        The outcome. After Ctrl-C, which ends the tasks on the hosts too, its status is `interrupted`.
    """
    secrets = secrets or Secrets()
    with private_directory("noslop-run-") as private:
        options = [*(["--check"] if check else []), *(["--diff"] if diff else []), *["-v"] * verbosity]
        options += ["--tags", ",".join(tags)] if tags else []
        options += ["--forks", str(forks)] if forks else []
        arguments = _arguments(playbook, inventory, private, extra_vars=extra_vars or {}, limit=limit, options=options)
        config = _make_watchdog_config(inventory, private, secrets, limit, after_kill)

        def pass_output(raw: Mapping[str, Any]) -> None:
            text = str(raw.get("stdout") or "").strip()
            if text and (verbosity or (diff and raw.get("event") == DIFF_EVENT)):
                on_output(text)

        run = _Playbook(arguments, config, pass_output)
        try:
            run.follow(on_event)
            return run.state.outcome(interrupted=False)
        except KeyboardInterrupt:
            left_running = _stop(run, inventory, on_event, on_interrupt, secrets)
            return replace(run.state.outcome(interrupted=True), left_running=left_running)
        except BaseException:
            run.kill()
            raise
        finally:
            remove_password_memory(config.started)
            run.release()


def _stop(
    run: _Playbook,
    inventory: Path,
    on_event: Callable[[Event], None],
    on_interrupt: Callable[[str], None],
    secrets: Secrets,
) -> list[str]:
    """End a run and its tasks on the hosts. Return the hosts on which a task may still run."""
    busy = sorted(run.state.running)
    stop: _Playbook | None = None
    try:
        on_interrupt("Stopping. Press Ctrl-C again to leave at once.")
        workers = run.interrupt(on_event)
        if not busy:
            return []
        # Closing an SSH connection ends no process on the host (ansible#87327).
        on_interrupt(f"Ending what was running on {', '.join(busy)}.")
        with private_directory("noslop-stop-") as private:
            playbook = write_private(private / "stop.yml", remote_stop.render_playbook(workers))
            limit = ",".join(busy)
            arguments = _arguments(playbook, inventory, private, extra_vars={}, limit=limit, options=())
            stop = _Playbook(arguments, _make_watchdog_config(inventory, private, secrets, limit))
            stop.follow(lambda _event: None)
        stats = stop.state.stats
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


def _listen(config: WatchdogConfig) -> socket.socket:
    """Listen on the socket from which the watchdog gets its configuration."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with socket_address(Path(config.private)) as address:
        listener.bind(address)
    listener.listen(1)
    return listener


def _make_watchdog_config(
    inventory: Path, private: Path, secrets: Secrets, limit: str | None, after_kill: str = ""
) -> WatchdogConfig:
    """Return the configuration of a run's watchdog."""
    passwords = {"ssh": secrets.ssh_password, "become": secrets.become_password}
    hosts = select_hosts(inventory, "all") if secrets.become_passwords else []
    return WatchdogConfig(
        private=str(private),
        driver_pid=os.getpid(),
        started=time.time(),
        stop=["--inventory", str(inventory.resolve()), *(["--limit", limit] if limit else [])],
        after_kill=after_kill,
        passwords={name: password for name, password in passwords.items() if password and password == password.strip()},
        secret_inventory=render_secret_inventory(secrets, hosts),
    )


def _arguments(
    playbook: str | Path,
    inventory: Path,
    private: Path,
    *,
    extra_vars: Mapping[str, Any],
    limit: str | None,
    options: Sequence[str],
) -> dict[str, Any]:
    """Return the arguments for ansible-runner; `options` are those of ansible-playbook."""
    # -P: a file in the current directory is not imported as a module.
    command = ["-P", "-m", "noslop_driver.ansible.watchdog", str(private)]
    if extra_vars:
        command += ["--extra-vars", f"@{write_private(private / 'vars.json', json.dumps(dict(extra_vars)))}"]
    runner_directory = private / "runner"
    runner_directory.mkdir(mode=0o700)
    return {
        "private_data_dir": str(runner_directory),
        # The current directory: relative paths start there, and Ansible finds its ansible.cfg.
        "project_dir": str(Path.cwd()),
        # The watchdog becomes ansible-playbook. ansible-runner adds inventory and limit to another program, but no
        # playbook.
        "binary": sys.executable,
        "inventory": str(inventory.resolve()),
        "limit": limit,
        "cmdline": shlex.join([*command, *options, str(playbook)]),
        "envvars": make_environment(inventory, private),
        "quiet": True,
        # Files of an earlier run would win over what is passed here, and passwords would be written in clear
        # (ansible-runner#493, #1440). With this, `settings` is ignored and `extravars` would appear in `ps`: neither is
        # used.
        "suppress_env_files": True,
        # Without this, ansible-runner puts the fact cache into its own directory, which is removed.
        "fact_cache_type": "none",
    }
