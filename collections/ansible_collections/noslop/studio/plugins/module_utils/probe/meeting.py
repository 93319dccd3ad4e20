# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what several hosts see of each other on one file system, while all of them are in the same directory.

The hosts wait for each other with files: each writes one, and looks until those of the others are there. A wait is
bounded, and a host that does not come is named in the results.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypedDict

from ansible_collections.noslop.studio.plugins.module_utils.probe import directory as files

#: How long a host waits for the others: first until Ansible has started the task on all, then at each step.
ARRIVAL_S = 60.0
STEP_S = 20.0
#: How long a new file may take to be seen. A client of NFS keeps what it knows of a directory for a minute (nfs(5)).
DELAY_LIMIT_S = 75.0
#: Before the file is written whose delay is measured, so that the others have looked for it in vain.
_HEAD_START_S = 0.5
_POLL_S = 0.01
_REFRESH_S = 0.05
RACE_NAMES = 50
#: How long one host replaces a file that the others read.
REPLACE_S = 2.0
_CONTENT_BYTES = 8192
_LIMIT_BYTES = 4 * _CONTENT_BYTES
MODE = 0o640


class Race(TypedDict):
    """Names that several hosts made at once."""

    names: int
    won: list[int]
    error: str


class Replacing(TypedDict):
    """How a file looked while it was replaced again and again. The host that replaces counts its renames."""

    renames: int
    reads: int
    torn: int
    missing: int
    stale: int
    error: str


class Meeting(TypedDict):
    """The others, as one host saw them. Texts are empty where all is well."""

    content: dict[str, str]
    """Host to the problem with the file that it wrote."""
    owners: dict[str, list[int]]
    """Host to owner, group and mode of that file."""
    links: dict[str, str]
    """Host to the problem with the names that it made."""
    absent: list[str]
    """Participants that did not come."""
    delays_s: dict[str, float]
    """Host to the time until it saw a new file of the first participant, which measured it; below 0 for never."""
    race: Race
    replacing: Replacing
    locks: dict[str, str]
    """Kind of lock to ``refused`` where another host has it, as it should be; ``granted``, or the reason for neither.

    On the first participant, empty or the reason why it got no lock.
    """


@dataclass(frozen=True)
class Party:
    """The hosts of a probe.

    ``hosts`` are all, by whose order files name them; ``present`` those that wrote their files, ``linking`` and
    ``symlinking`` those of them that could make links. Of the ``participants``, which meet at the same time, the first
    one does what one host does alone.
    """

    host: str
    hosts: Sequence[str]
    run_id: str
    present: Collection[str] = ()
    linking: Collection[str] = ()
    symlinking: Collection[str] = ()
    participants: Sequence[str] = ()

    @property
    def leads(self) -> bool:
        """Return whether this host is the first participant."""
        return bool(self.participants) and self.host == self.participants[0]

    def number(self, host: str) -> int:
        """Return the number by which files name a host, whose own name may contain anything."""
        return self.hosts.index(host)

    def content(self, host: str) -> bytes:
        """Return what a host writes into its file."""
        return f"{self.run_id} {host}\n".encode()


def write_greeting(directory: int, party: Party, *, links: bool, symlinks: bool) -> None:
    """Write the files by which the other hosts recognise this one, with a hard link and a symlink where there are any.

    Raises:
        OSError: the file cannot be written.
    """
    number = party.number(party.host)
    name = f"here.{number}"
    files.create(directory, name, party.content(party.host), MODE)
    descriptor = files.open_file(directory, name)
    try:
        # A mount may fix the mode of every file; what the others see is compared.
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, MODE)
    finally:
        os.close(descriptor)
    if links:
        os.link(name, f"link.{number}", src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    if symlinks:
        os.symlink(name, f"symlink.{number}", dir_fd=directory)


class Meet:
    """One host's part of a meeting, in an open directory."""

    def __init__(self, directory: int, party: Party) -> None:
        self._directory = directory
        self._party = party
        self._number = party.number(party.host)
        self._absent: set[str] = set()

    def run(self) -> Meeting:
        """Read the files of all hosts, and do the rest with the other participants."""
        party = self._party
        others = [host for host in party.hosts if host != party.host and host in party.present]
        meeting = Meeting(
            content={},
            owners={},
            links={},
            absent=[],
            delays_s={},
            race=Race(names=0, won=[], error=""),
            replacing=Replacing(renames=0, reads=0, torn=0, missing=0, stale=0, error=""),
            locks={},
        )
        refreshed = time.monotonic() + STEP_S
        for host in others:
            while (problem := self._read_greeting(meeting, host)) and time.monotonic() < refreshed:
                self._refresh()
                time.sleep(_REFRESH_S)
            meeting["content"][host] = problem
            if problem:
                # It is elsewhere: waiting for it would be in vain.
                self._absent |= {host} & set(party.participants)
            else:
                meeting["links"][host] = self._read_links(host)
        if party.host in party.participants and len(party.participants) > 1:
            self._together(meeting)
        meeting["absent"] = sorted(self._absent)
        return meeting

    def _together(self, meeting: Meeting) -> None:
        self._gather("arrived", ARRIVAL_S)
        if self._party.leads and len(self._absent) == len(self._party.participants) - 1:
            return
        if not self._party.leads and self._party.participants[0] in self._absent:
            return
        meeting["delays_s"] = self._measure_delays()
        self._gather("racing", DELAY_LIMIT_S)
        meeting["race"] = self._race()
        if self._party.leads:
            files.create(self._directory, "current", _compose(0))
        self._gather("replacing", STEP_S)
        meeting["replacing"] = self._replace() if self._party.leads else self._watch()
        meeting["locks"] = self._lock()

    # waiting

    def _refresh(self) -> None:
        """Make this client ask the server again: what it knows of a directory counts until it changes it itself."""
        name = f"refresh.{self._number}"
        with contextlib.suppress(OSError):
            os.mkdir(name, 0o700, dir_fd=self._directory)
            os.rmdir(name, dir_fd=self._directory)

    def _gather(self, step: str, limit_s: float) -> None:
        """Wait until every participant that came so far is at this step, and leave out those that do not come."""
        files.create(self._directory, f"{step}.{self._number}")
        others = [host for host in self._party.participants if host not in {self._party.host, *self._absent}]
        self._absent |= set(self._wait({host: f"{step}.{self._party.number(host)}" for host in others}, limit_s))

    def _wait(
        self, names: dict[str, str], limit_s: float, passed: Callable[[str], None] = lambda __: None
    ) -> list[str]:
        """Wait until the files are there. Return the hosts whose file never came."""
        deadline = time.monotonic() + limit_s
        missing = dict(names)
        while missing and time.monotonic() < deadline:
            self._refresh()
            for host, name in list(missing.items()):
                if self._exists(name):
                    del missing[host]
                    passed(host)
            time.sleep(_REFRESH_S if missing else 0)
        return list(missing)

    def _exists(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        except OSError:
            return False
        return True

    # what the others wrote

    def _read_greeting(self, meeting: Meeting, host: str) -> str:
        name = f"here.{self._party.number(host)}"
        try:
            content = files.read(self._directory, name, _LIMIT_BYTES)
            status = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        except OSError as error:
            return f"{name}: {error.strerror}"
        meeting["owners"][host] = [status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)]
        return "" if content == self._party.content(host) else f"{name} holds something else than was written"

    def _read_links(self, host: str) -> str:
        number = self._party.number(host)
        problems = []
        try:
            link = f"link.{number}"
            linked = host in self._party.linking
            if linked and files.read(self._directory, link, _LIMIT_BYTES) != self._party.content(host):
                problems.append("its hard link has another content")
            if (
                host in self._party.symlinking
                and os.readlink(f"symlink.{number}", dir_fd=self._directory) != f"here.{number}"
            ):
                problems.append("its symlink leads elsewhere")
        except OSError as error:
            problems.append(f"one of its links: {error.strerror}")
        return "; ".join(problems)

    # what happens at once

    def _measure_delays(self) -> dict[str, float]:
        """Measure how soon the others see a new file: the first participant writes one, and they answer with another.

        One clock measures both ways. The others look without a refresh, and have looked before the file was written.
        """
        if not self._party.leads:
            deadline = time.monotonic() + DELAY_LIMIT_S
            while not self._exists("ping"):
                if time.monotonic() > deadline:
                    return {}
                time.sleep(_POLL_S)
            files.create(self._directory, f"pong.{self._number}")
            return {}
        time.sleep(_HEAD_START_S)
        others = [host for host in self._party.participants[1:] if host not in self._absent]
        delays_s = dict.fromkeys(others, -1.0)
        started = time.monotonic()
        files.create(self._directory, "ping")

        def record(host: str) -> None:
            delays_s[host] = time.monotonic() - started

        self._wait({host: f"pong.{self._party.number(host)}" for host in others}, DELAY_LIMIT_S, record)
        return delays_s

    def _race(self) -> Race:
        """Make the same names as the others, at the same time: each must succeed once."""
        won, reason = [], ""
        for number in range(RACE_NAMES):
            try:
                files.create(self._directory, f"race.{number}")
                won.append(number)
            except FileExistsError:
                pass
            except OSError as error:
                reason = error.strerror or type(error).__name__
        return Race(names=RACE_NAMES, won=won, error=reason)

    def _replace(self) -> Replacing:
        """Replace a file by another one, again and again."""
        done, reason = 0, ""
        deadline = time.monotonic() + REPLACE_S
        while time.monotonic() < deadline:
            try:
                files.create(self._directory, "next", _compose(done + 1))
                os.replace("next", "current", src_dir_fd=self._directory, dst_dir_fd=self._directory)
            except OSError as error:
                reason = error.strerror or type(error).__name__
                break
            done += 1
        return Replacing(renames=done, reads=0, torn=0, missing=0, stale=0, error=reason)

    def _watch(self) -> Replacing:
        """Read the file that the first participant replaces."""
        counts = {"torn": 0, "missing": 0, "stale": 0}
        reads, reason = 0, ""
        deadline = time.monotonic() + REPLACE_S
        while time.monotonic() < deadline:
            try:
                reads += 1
                counts["torn"] += not _is_whole(files.read(self._directory, "current", _LIMIT_BYTES))
            except FileNotFoundError:
                counts["missing"] += 1
            except OSError as error:
                # NFS: the file that was opened is replaced and gone (nfs(5)); it is opened again.
                if error.errno == errno.ESTALE:
                    counts["stale"] += 1
                else:
                    reason = error.strerror or type(error).__name__
        return Replacing(
            renames=0,
            reads=reads,
            torn=counts["torn"],
            missing=counts["missing"],
            stale=counts["stale"],
            error=reason,
        )

    def _lock(self) -> dict[str, str]:
        """Lock a file on the first participant, and try the same lock on the others meanwhile."""
        functions = {"flock": fcntl.flock, "fcntl": fcntl.lockf}
        if self._party.leads:
            with contextlib.ExitStack() as stack:
                outcomes = {}
                for kind, lock in functions.items():
                    descriptor = files.open_file(self._directory, f"lock.{kind}", new=True)
                    stack.callback(os.close, descriptor)
                    granted = _try_lock(lock, descriptor)
                    outcomes[kind] = "" if granted == "granted" else granted
                self._gather("locked", STEP_S)
                self._gather("tried", STEP_S)
            return outcomes
        self._gather("locked", STEP_S)
        outcomes = {}
        for kind, lock in functions.items():
            try:
                descriptor = files.open_file(self._directory, f"lock.{kind}")
            except OSError as error:
                outcomes[kind] = error.strerror or type(error).__name__
                continue
            try:
                outcomes[kind] = _try_lock(lock, descriptor)
            finally:
                os.close(descriptor)
        self._gather("tried", STEP_S)
        return outcomes


def _try_lock(lock: Callable[[int, int], None], descriptor: int) -> str:
    try:
        lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "refused"
    except OSError as error:
        # POSIX lets a lock that another process has be refused with either.
        return "refused" if error.errno == errno.EACCES else error.strerror or type(error).__name__
    return "granted"


def _compose(number: int) -> bytes:
    return f"{number:016x}".encode() * (_CONTENT_BYTES // 16)


def _is_whole(content: bytes) -> bool:
    return len(content) == _CONTENT_BYTES and content == content[:16] * (_CONTENT_BYTES // 16)
