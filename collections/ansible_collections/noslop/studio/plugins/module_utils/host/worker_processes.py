# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run functions as another account in worker processes that can be killed.

A path on a hard NFS mount blocks for as long as its server is down (nfs(5)). Code that accesses one therefore runs in a
worker process, and the caller waits no longer than its timeout, not even for the exit status: a process in
uninterruptible sleep does not end before its server answers.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pwd
import selectors
import signal
import threading
import time
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass
from typing import Any

#: How long a killed worker may take to end before it is left to the init process.
_KILL_GRACE_S = 1.0
_PR_SET_PDEATHSIG = 1
#: Workers that answered or were killed, and whose exit status was not available yet.
_unreaped: set[int] = set()


@dataclass(frozen=True)
class Account:
    """The account that a worker runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@dataclass
class Outcome:
    """The result of a worker: ``value``, or an ``error``. ``hung`` is true when it had to be killed.

    ``left`` is the number of a process that was killed and has not ended, since the kernel waits for a file system.
    """

    value: Any = None
    error: str = ""
    hung: bool = False
    elapsed_s: float = 0.0
    left: int = 0


@dataclass
class _Worker:
    pid: int
    pipe: int
    received: bytes = b""


def account_for(uid: int, gid: int) -> Account:
    """Return the account with these numbers, with its further groups where it exists on the host."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return Account(uid, gid, (gid,))
    return Account(uid, gid, tuple(os.getgrouplist(name, gid)))


def run_all(
    works: Mapping[str, Callable[[], Any]], account: Account | Mapping[str, Account] | None, timeout_s: float
) -> dict[str, Outcome]:
    """Run every function in a worker of its own, all at once, and wait for them together.

    Args:
        works: name to a function without arguments that returns a JSON value.
        account: the account they run as, one for all or one for each name; ``None`` does not change the account.
        timeout_s: seconds after which unfinished workers are killed.

    Returns:
        One outcome for each name.
    """
    outcomes = {name: Outcome() for name in works}
    started = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for name, work in works.items():
            worker = _start(work, account[name] if isinstance(account, Mapping) else account)
            selector.register(worker.pipe, selectors.EVENT_READ, (name, worker))
        _collect(selector, outcomes, started, started + timeout_s)
        for key in list(selector.get_map().values()):
            name, worker = key.data
            outcomes[name].hung = True
            outcomes[name].error = f"no answer within {timeout_s:g} s"
            outcomes[name].elapsed_s = time.monotonic() - started
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(worker.pid, signal.SIGKILL)
        for name, pid in _reap_killed(selector).items():
            outcomes[name].left = pid
    return outcomes


def run_one(work: Callable[[], Any], account: Account | None, timeout_s: float) -> Outcome:
    """Run one function in a worker; see :func:`run_all`."""
    return run_all({"only": work}, account, timeout_s)["only"]


def stream(
    work: Callable[[Callable[[Any], None]], None], account: Account | None, kept_descriptors: Collection[int] = ()
) -> Generator[Any, None, None]:
    """Run a function in a worker without a time limit, and yield what it sends, as it comes.

    The worker ends with this process.

    Args:
        work: a function that gets the function to send a JSON value with, which its threads may call.
        account: the account it runs as; ``None`` does not change the account.
        kept_descriptors: open files that the worker keeps, such as a lock.

    Raises:
        OSError: the worker failed, or ended without a word.
    """
    read_end, write_end = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            _close_inherited_files(write_end, *kept_descriptors)
            with open(write_end, "w", encoding="utf-8", buffering=1) as pipe:
                lock = threading.Lock()

                def send(value: Any) -> None:
                    try:
                        with lock:
                            pipe.write(json.dumps({"sent": value}) + "\n")
                    except OSError:
                        os._exit(1)  # no one reads any more, and the work must not take it for an error of its own

                def run() -> None:
                    _end_with_parent(parent)
                    work(send)

                pipe.write(_answer(run, account).decode() + "\n")
        finally:
            os._exit(0)
    os.close(write_end)
    error: str | None = "the worker process ended without an answer"
    try:
        with open(read_end, encoding="utf-8") as pipe:
            for line in pipe:
                value = json.loads(line)
                if isinstance(value, list):
                    error = value[1]
                else:
                    yield value["sent"]
    finally:
        os.waitpid(pid, 0)
    if error:
        raise OSError(error)


def start_detached(work: Callable[[], None], account: Account | None, kept_descriptors: Collection[int]) -> int:
    """Start a function in a process that outlives this one. Return its number.

    Args:
        work: the function.
        account: the account it runs as; ``None`` does not change the account.
        kept_descriptors: open files that the process keeps.
    """
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            _close_inherited_files(*kept_descriptors)
            if account is not None:
                become(account)
            work()
        finally:
            os._exit(0)
    return pid


def _end_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent ends. A change of the account resets this (prctl(2))."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _collect(selector: selectors.BaseSelector, outcomes: dict[str, Outcome], started: float, deadline: float) -> None:
    while selector.get_map():
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return
        for key, __ in selector.select(left_s):
            name, worker = key.data
            part = os.read(worker.pipe, 65536)
            worker.received += part
            if not part:
                outcomes[name] = _decode(worker.received)
                outcomes[name].elapsed_s = time.monotonic() - started
                _release(selector, worker)


def _reap_killed(selector: selectors.BaseSelector) -> dict[str, int]:
    """Wait for killed workers for a short time, and return those that have not ended: name to process.

    Their end of the pipe closes when they end.
    """
    deadline = time.monotonic() + _KILL_GRACE_S
    while selector.get_map() and deadline > time.monotonic():
        for key, __ in selector.select(deadline - time.monotonic()):
            if not os.read(key.data[1].pipe, 65536):
                _release(selector, key.data[1])
    left = {}
    for key in list(selector.get_map().values()):
        name, worker = key.data
        left[name] = worker.pid
        _release(selector, worker)
    return left


def _release(selector: selectors.BaseSelector, worker: _Worker) -> None:
    selector.unregister(worker.pipe)
    os.close(worker.pipe)
    _unreaped.add(worker.pid)
    _reap_ended()


def _reap_ended() -> None:
    """Collect the exit status of workers that have ended; the others stay for the next call."""
    for pid in list(_unreaped):
        try:
            ended, __ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended = pid
        if ended:
            _unreaped.discard(pid)


def _decode(received: bytes) -> Outcome:
    try:
        value, error = json.loads(received)
    except ValueError:
        return Outcome(error="the worker process ended without an answer")
    return Outcome(value=value, error=error)


def _start(work: Callable[[], Any], account: Account | None) -> _Worker:
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            _close_inherited_files(write_end)
            answer = _answer(work, account)
            with open(write_end, "wb") as stream:
                stream.write(answer)
        finally:
            os._exit(0)
    os.close(write_end)
    return _Worker(pid, read_end)


def _close_inherited_files(*kept_descriptors: int) -> None:
    """Close inherited files: a worker that outlives its parent must not keep the controller's connection open."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:
        if descriptor > 2 and descriptor not in kept_descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    os.chdir("/")


def _answer(work: Callable[[], Any], account: Account | None) -> bytes:
    try:
        if account is not None:
            become(account)
        return json.dumps([work(), ""]).encode()
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return json.dumps([None, f"{error.strerror or type(error).__name__}{where}"]).encode()
    except Exception as error:  # the answer is the worker's only way to report an error
        return json.dumps([None, f"{type(error).__name__}: {error}"]).encode()


def become(account: Account) -> None:
    """Change the account of this process to ``account`` permanently. Does nothing where it is that account already.

    Raises:
        PermissionError: this process may not.
    """
    if (os.getuid(), os.getgid()) == (account.uid, account.gid) and os.geteuid() != 0:
        return
    os.setgroups(account.groups or (account.gid,))
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
