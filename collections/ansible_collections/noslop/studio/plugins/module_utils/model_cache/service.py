# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a cache: a process for each share that keeps its view, and one at a time that copies what programs opened.

Root starts them and touches no share. Where the process of a share is silent, its server does not answer: the view is
reduced to what is in the cache, and is whole again after the next word of that process.
"""

from __future__ import annotations

import functools
import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.model_cache import (
    children,
    copies,
    copying,
    follower,
    layout,
    room,
    status,
    view,
)
from ansible_collections.noslop.studio.plugins.module_utils.models import model_tree

#: Seconds without a word of a share's process after which its server counts as away.
SILENT_S = 15.0
#: For what is done with local files only, in seconds.
_LOCAL_TIMEOUT_S = 60.0
_RESTART_S = 2.0


@dataclass
class _Followed:
    """A share, its process, and when that sent something last or may be started again."""

    share: layout.CachedShare
    child: children.Child | None = None
    heard_s: float = -_RESTART_S
    is_away: bool = False
    message: str = "it was not read yet"


@dataclass(frozen=True)
class _Wanted:
    """A file that a program opened, as it was then."""

    share: layout.CachedShare
    path: str
    digest: str
    size: int
    modified_ns: int


class CacheService:
    """A cache and its processes."""

    def __init__(
        self,
        shares: Sequence[layout.CachedShare],
        limit_bytes: int,
        status_file: str,
        *,
        interval_s: float = follower.INTERVAL_S,
        silent_s: float = SILENT_S,
    ) -> None:
        """Start no process yet.

        Args:
            shares: the shares, whose parts of the cache are there.
            limit_bytes: for all copies together.
            status_file: where the state is written.
            interval_s: seconds between two looks at a share.
            silent_s: seconds after which a share that does not answer is away.
        """
        self._followed = {share.name: _Followed(share) for share in shares}
        self._limit_bytes, self._interval_s, self._silent_s = limit_bytes, interval_s, silent_s
        self._status = status.Writer(status_file, limit_bytes)
        self._wanted: dict[str, _Wanted] = {}
        self._copier: tuple[children.Child, _Wanted] | None = None
        #: Digest and time of files that another try would not copy either.
        self._refused: set[tuple[str, int]] = set()

    def run(self) -> None:
        """Run until the process is ended."""
        while True:
            for followed in self._followed.values():
                self._start_follower(followed)
            self._start_copier()
            self._write_status()
            self._read_children()
            for followed in self._followed.values():
                if not followed.is_away and time.monotonic() - followed.heard_s > self._silent_s:
                    self._mark_away(followed, "the share does not answer")

    def _start_follower(self, followed: _Followed) -> None:
        if followed.child is None and time.monotonic() - followed.heard_s >= _RESTART_S:
            work = functools.partial(follower.follow, followed.share, self._interval_s)
            followed.child = children.start(work, followed.share.account)
            followed.heard_s = time.monotonic()

    def _read_children(self) -> None:
        """Wait for a word of a process, for a second at most."""
        pipes = {one.child.pipe: (one, one.child) for one in self._followed.values() if one.child}
        copiers = {self._copier[0].pipe: self._copier} if self._copier else {}
        ready, __, __ = select.select([*pipes, *copiers], [], [], 1.0)
        for pipe in ready:
            if pipe in pipes:
                self._read_follower(*pipes[pipe])
            else:
                self._read_copier(*copiers[pipe])

    def _read_follower(self, followed: _Followed, child: children.Child) -> None:
        messages = child.read()
        followed.heard_s = time.monotonic()
        if messages is None:
            child.end()
            followed.child = None
        for message in messages or ():
            if problem := message.get("away") or message.get("ended"):
                self._mark_away(followed, problem)
                continue
            if "reading" in message:
                continue
            if followed.is_away or followed.message:
                _print(f"{followed.share.path}: programs see all that is on the share")
            followed.is_away, followed.message = False, ""
            for path, size, modified_ns in message.get("opened", ()):
                digest = followed.share.find_digest(path)
                if (digest, modified_ns) not in self._refused:
                    self._wanted[digest] = _Wanted(followed.share, path, digest, size, modified_ns)

    def _mark_away(self, followed: _Followed, message: str) -> None:
        if followed.message != message:
            _print(f"{followed.share.path}: {message}. Until it is back, programs see what is in the cache")
        followed.is_away, followed.message = True, message
        self._run_local(followed.share, functools.partial(_hide, followed.share))

    def _start_copier(self) -> None:
        """Start to copy what was opened first, of a share that answers."""
        for digest, wanted in list(self._wanted.items()):
            if self._copier:
                return
            if self._followed[wanted.share.name].is_away:
                continue
            del self._wanted[digest]
            listed = self._list_copies()
            if all(copy.digest != digest for copy in listed) and self._make_room(wanted, listed):
                child = children.start(functools.partial(_copy, wanted), wanted.share.account)
                self._copier = (child, wanted)

    def _list_copies(self) -> list[room.Copy]:
        listed: list[room.Copy] = []
        for one in self._followed.values():
            answer = self._run_local(one.share, functools.partial(_list_copies, one.share))
            listed += [room.Copy(one.share.name, *values) for values in answer or ()]
        return listed

    def _make_room(self, wanted: _Wanted, listed: Sequence[room.Copy]) -> bool:
        """Remove other copies where the new one needs their room. Return whether there is room then."""
        system = os.statvfs(wanted.share.directory)
        sizes = (system.f_bavail * system.f_frsize, system.f_blocks * system.f_frsize)
        limit = room.limit_by_disk(self._limit_bytes, sum(copy.size for copy in listed), *sizes)
        removed = room.choose_removals(listed, limit, wanted.size)
        if removed is None:
            self._status.fail(wanted.path, f"it has {wanted.size} bytes, and the cache has room for {limit}")
            return False
        for one in self._followed.values():
            digests = [copy.digest for copy in removed if copy.share == one.share.name]
            if digests:
                self._run_local(one.share, functools.partial(_remove, one.share, digests))
                _print(f"{one.share.path}: {len(digests)} copies removed that were not used for longest")
        self._status.removed += len(removed)
        return True

    def _read_copier(self, child: children.Child, wanted: _Wanted) -> None:
        messages = child.read()
        if messages is None:
            messages = [{"ended": "its process ended"}]
        for answer in messages:
            if "copied" in answer:
                self._status.succeed(wanted.path)
                _print(f"{wanted.share.path}: {wanted.path} copied, {wanted.size} bytes")
                continue
            self._status.fail(wanted.path, answer.get("failed") or answer["ended"])
            if answer.get("is_lasting"):
                self._refused.add((wanted.digest, wanted.modified_ns))
        if messages:
            child.end()
            self._copier = None

    def _run_local(self, share: layout.CachedShare, work: Callable[[], Any]) -> Any:
        outcome = worker_processes.run_one(work, share.account, _LOCAL_TIMEOUT_S)
        if outcome.error:
            _print(f"{share.directory}: {outcome.error}")
        return outcome.value

    def _write_status(self) -> None:
        shares = [status.ShareState(one.share, one.is_away, one.message) for one in self._followed.values()]
        copied = self._copier[1].path if self._copier else ""
        if self._status.is_due(shares, copied):
            measures = [self._run_local(one.share, functools.partial(status.measure, one.share)) for one in shares]
            self._status.write(shares, copied, [measure or {} for measure in measures])


def _copy(wanted: _Wanted, send: children.Send) -> None:
    model_tree.lower_priority()
    try:
        copying.copy(wanted.share, wanted.path, wanted.digest, wanted.size, wanted.modified_ns)
    except copying.CopyError as error:
        send({"failed": str(error), "is_lasting": error.is_lasting})
    else:
        send({"copied": wanted.digest})


def _hide(share: layout.CachedShare) -> bool:
    with view.locked(share):
        return view.hide_share(share)


def _remove(share: layout.CachedShare, digests: Sequence[str]) -> None:
    with view.locked(share):
        view.remove_copies(share, digests)


def _list_copies(share: layout.CachedShare) -> list[tuple[str, int, int]]:
    return [(copy.digest, copy.size, copy.used_ns) for copy in copies.read(share)]


def _print(line: str) -> None:
    """Write a line to the journal."""
    sys.stdout.write(f"{line}.\n")
    sys.stdout.flush()
