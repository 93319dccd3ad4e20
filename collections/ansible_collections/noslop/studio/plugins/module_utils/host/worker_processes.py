# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run functions as another account in child processes that can be killed.

A path on a hard NFS mount blocks for as long as its server is away (nfs(5)). Whoever touches one therefore does it
in a child, and nobody waits for a child longer than he said, not even to collect its exit status: a process in
uninterruptible sleep does not die before its server answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import selectors
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: How long a killed child may take to go before it is left to the init process.
_LAST_WORDS_S = 1.0
#: Children that answered or were killed, and whose exit status was not there yet.
_unburied: set[int] = set()


@dataclass(frozen=True)
class Account:
    """Who a child is."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@dataclass
class Outcome:
    """What a child gave: ``value``, or the ``error`` why there is none. ``hung`` says that it had to be killed."""

    value: Any = None
    error: str = ""
    hung: bool = False
    took_s: float = 0.0


@dataclass
class _Child:
    pid: int
    pipe: int
    received: bytes = b""


def account_for(uid: int, gid: int) -> Account:
    """The account with these numbers, with its further groups where the host knows it."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return Account(uid, gid, (gid,))
    return Account(uid, gid, tuple(os.getgrouplist(name, gid)))


def run_all(
    works: Mapping[str, Callable[[], Any]], account: Account | Mapping[str, Account] | None, timeout_s: float
) -> dict[str, Outcome]:
    """Run every function in a child of its own, all at once, and wait for them together.

    Args:
        works: name to a function without arguments that returns what JSON can carry.
        account: who they run as, all or each by its name; ``None`` leaves the account as it is.
        timeout_s: seconds after which those that are not done are killed.

    Returns:
        One outcome for each name.
    """
    outcomes = {name: Outcome() for name in works}
    began = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for name, work in works.items():
            child = _start(work, account[name] if isinstance(account, Mapping) else account)
            selector.register(child.pipe, selectors.EVENT_READ, (name, child))
        _collect(selector, outcomes, began, began + timeout_s)
        for key in list(selector.get_map().values()):
            name, child = key.data
            outcomes[name].hung = True
            outcomes[name].error = f"no answer within {timeout_s:g} s"
            outcomes[name].took_s = time.monotonic() - began
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        _bury(selector)
    return outcomes


def run_one(work: Callable[[], Any], account: Account | None, timeout_s: float) -> Outcome:
    """Run one function in a child; see :func:`run_all`."""
    return run_all({"only": work}, account, timeout_s)["only"]


def _collect(selector: selectors.BaseSelector, outcomes: dict[str, Outcome], began: float, deadline: float) -> None:
    while selector.get_map():
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return
        for key, _ in selector.select(left_s):
            name, child = key.data
            part = os.read(child.pipe, 65536)
            child.received += part
            if not part:
                outcomes[name] = _decode(child.received)
                outcomes[name].took_s = time.monotonic() - began
                _forget(selector, child)


def _bury(selector: selectors.BaseSelector) -> None:
    """Give killed children a moment: their end of the pipe closes when they are gone."""
    deadline = time.monotonic() + _LAST_WORDS_S
    while selector.get_map() and deadline > time.monotonic():
        for key, _ in selector.select(deadline - time.monotonic()):
            if not os.read(key.data[1].pipe, 65536):
                _forget(selector, key.data[1])
    for key in list(selector.get_map().values()):
        _forget(selector, key.data[1])


def _forget(selector: selectors.BaseSelector, child: _Child) -> None:
    selector.unregister(child.pipe)
    os.close(child.pipe)
    _unburied.add(child.pid)
    _collect_dead()


def _collect_dead() -> None:
    """Take the exit status of children that are gone by now; the others are asked again the next time."""
    for pid in list(_unburied):
        try:
            gone, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            gone = pid
        if gone:
            _unburied.discard(pid)


def _decode(received: bytes) -> Outcome:
    try:
        value, error = json.loads(received)
    except ValueError:
        return Outcome(error="the child process ended without an answer")
    return Outcome(value=value, error=error)


def _start(work: Callable[[], Any], account: Account | None) -> _Child:
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            _let_go_of_files(write_end)
            answer = _answer(work, account)
            with open(write_end, "wb") as stream:
                stream.write(answer)
        finally:
            os._exit(0)
    os.close(write_end)
    return _Child(pid, read_end)


def _let_go_of_files(keep: int) -> None:
    """Close what was inherited: a child that outlives us must not hold the connection to the controller open."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:
        if descriptor > 2 and descriptor != keep:
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
    except Exception as error:  # a child has no other way to say what went wrong
        return json.dumps([None, f"{type(error).__name__}: {error}"]).encode()


def become(account: Account) -> None:
    """Turn this process into ``account`` for good. Does nothing where it is that account already.

    Raises:
        PermissionError: this process may not.
    """
    if (os.getuid(), os.getgid()) == (account.uid, account.gid) and os.geteuid() != 0:
        return
    os.setgroups(account.groups or (account.gid,))
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
