# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run work on the share in threads of its own, so that a share that hangs blocks nothing else.

A hard NFS mount whose server is away blocks a thread until the server is back, and nothing can call the thread off. So
there is a fixed number of them; a caller waits no longer than `limit_s`, and not at all when all of them hang. The
threads are daemons: one that hangs does not keep the process from ending. anyio's own pool would not do: it frees the
place of a thread that is abandoned while that still hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from noslop_backend.core.errors import ShareUnavailableError

T = TypeVar("T")
P = ParamSpec("P")
RETRY_AFTER_S = 5


@dataclass
class _Job:
    work: Callable[[], Any]
    undo: Callable[[Any], object] | None
    future: Future[Any] = field(default_factory=Future)
    #: The caller it is done for (`noslop_backend.journal.audit`).
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    #: The work is over, and its result is about to be passed on.
    ended: bool = False
    #: No caller waits for the result any more.
    abandoned: bool = False


@dataclass(frozen=True)
class PoolState:
    """What the pool is doing: how many threads work, how many of those hang, how many pieces of work wait."""

    threads: int
    busy: int
    hanging: int
    waiting: int


class ShareThreads:
    """A bounded number of threads, and a bounded number of callers who wait for one."""

    def __init__(self, *, threads: int, waiting: int, limit_s: float) -> None:
        self.threads = threads
        self.waiting = waiting
        self.limit_s = limit_s
        self._condition = threading.Condition()
        self._queue: deque[_Job] = deque()
        self._started = 0
        self._busy = 0
        self._hanging = 0
        self._closed = False

    def state(self) -> PoolState:
        """Return what the pool is doing now."""
        with self._condition:
            return PoolState(self.threads, self._busy, self._hanging, len(self._queue))

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do this in a thread of the pool and wait for it; blocks.

        Raises:
            ShareUnavailableError: no thread is free and no more callers may wait, or it took longer than `limit_s`.
        """
        job = self._submit(lambda: work(*args, **kwargs))
        if not wait([job.future], self.limit_s).done and self._give_up(job):
            raise self._too_slow()
        result: T = job.future.result()
        return result

    async def run_async(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do this in a thread of the pool while the loop goes on.

        Raises:
            ShareUnavailableError: as `run`.
        """
        return await self.call(functools.partial(work, *args, **kwargs))

    async def call(
        self, work: Callable[[], T], *, undo: Callable[[T], object] | None = None, limit_s: float | None = None
    ) -> T:
        """Do this in a thread of the pool while the loop goes on.

        Args:
            work: what to do.
            undo: what to do, in the thread, with a result that came after the caller had gone.
            limit_s: other than the pool's.

        Raises:
            ShareUnavailableError: as `run`.
        """
        job = self._submit(work, undo)
        ready = asyncio.wrap_future(job.future)
        try:
            done, _ = await asyncio.wait({ready}, timeout=self.limit_s if limit_s is None else limit_s)
        except asyncio.CancelledError:
            if not self._give_up(job) and undo is not None:
                self.forget(lambda: undo(job.future.result()))
            raise
        if not done and self._give_up(job):
            # The future may end later, and then its error is to count as looked at.
            ready.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            raise self._too_slow()
        result: T = await ready
        return result

    def forget(self, work: Callable[[], object]) -> None:
        """Do this some time, without a caller that waits; when the pool is full, not at all."""
        with contextlib.suppress(ShareUnavailableError):
            self._submit(work)

    def close(self) -> None:
        """Let idle threads end, and refuse everything from now on. Does not wait for threads that hang."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def drained(self, limit_s: float) -> bool:
        """Wait until nothing is being done; tells whether that came within the limit."""
        until = time.monotonic() + limit_s
        with self._condition:
            return self._condition.wait_for(
                lambda: not self._busy and not self._queue, timeout=max(0.0, until - time.monotonic())
            )

    def _submit(self, work: Callable[[], Any], undo: Callable[[Any], object] | None = None) -> _Job:
        job = _Job(work, undo)
        with self._condition:
            if self._closed:
                raise ShareUnavailableError("The service is being stopped. Send it again.", retry_after_s=RETRY_AFTER_S)
            if self._hanging >= self.threads:
                raise ShareUnavailableError(
                    f"The share does not answer: all {self.threads} threads that may work on it hang. Nothing was "
                    "begun. See whether the storage server is up; when it answers, send it again with the same key.",
                    retry_after_s=RETRY_AFTER_S,
                )
            if self._busy + len(self._queue) >= self.threads + self.waiting:
                raise ShareUnavailableError(
                    f"The share has too much to do: {self._busy} pieces of work run and {len(self._queue)} wait. "
                    "Nothing was begun. Send it again a little later.",
                    retry_after_s=RETRY_AFTER_S,
                )
            self._queue.append(job)
            if self._busy + len(self._queue) > self._started < self.threads:
                self._started += 1
                threading.Thread(target=self._work, name=f"share-{self._started}", daemon=True).start()
            self._condition.notify_all()
        return job

    def _work(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._queue or self._closed)
                if not self._queue:
                    return
                job = self._queue.popleft()
                if not job.future.set_running_or_notify_cancel():
                    continue
                self._busy += 1
            self._do(job)

    def _do(self, job: _Job) -> None:
        try:
            result = job.context.run(job.work)
        except BaseException as error:
            self._ended(job)
            self._idle()
            job.future.set_exception(error)
            return
        if self._ended(job) and job.undo is not None:
            # Where this fails too, recovery by lease cleans up after it.
            with contextlib.suppress(Exception):
                job.context.run(job.undo, result)
        self._idle()
        job.future.set_result(result)

    def _ended(self, job: _Job) -> bool:
        """End the time in which a caller can give it up. Return whether its caller has."""
        with self._condition:
            job.ended = True
            if job.abandoned:
                self._hanging -= 1
            return job.abandoned

    def _idle(self) -> None:
        with self._condition:
            self._busy -= 1
            self._condition.notify_all()

    def _give_up(self, job: _Job) -> bool:
        """Leave a piece of work to itself; one that has not begun never will. False when it has just ended instead."""
        with self._condition:
            if job.ended:
                return False
            if job.future.cancel():
                self._queue.remove(job)
            else:
                job.abandoned = True
                self._hanging += 1
            return True

    def _too_slow(self) -> ShareUnavailableError:
        return ShareUnavailableError(
            f"The share did not answer within {self.limit_s:g} s. The request may still be carried out when it "
            "answers again: send it again with the same key, and it is done once.",
            retry_after_s=RETRY_AFTER_S,
        )
