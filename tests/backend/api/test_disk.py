# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool of threads for the share: bounded in threads, in waiting callers, and in time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from noslop_backend.api.share_threads import ShareThreads
from noslop_backend.core.errors import ShareUnavailableError


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What hangs in these tests hangs here."""
    event = threading.Event()
    yield event
    event.set()


def _pool(threads: int = 1, waiting: int = 0, limit_s: float = 60.0) -> ShareThreads:
    return ShareThreads(threads=threads, waiting=waiting, limit_s=limit_s)


def _holding(gate: threading.Event) -> tuple[Callable[[], str], threading.Event]:
    entered = threading.Event()

    def work() -> str:
        entered.set()
        gate.wait()
        return "late"

    return work, entered


def test_results_and_errors_come_back() -> None:
    pool = _pool()
    assert pool.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        pool.run(divmod, 7, 0)
    # An error of the work itself is not taken for the end of patience.
    with pytest.raises(TimeoutError, match="mine"):
        pool.run(_raise, TimeoutError("mine"))


def _raise(error: Exception) -> None:
    raise error


def test_a_full_pool_refuses_at_once(gate: threading.Event) -> None:
    pool = _pool()
    work, entered = _holding(gate)
    with ThreadPoolExecutor() as others:
        first = others.submit(pool.run, work)
        assert entered.wait()
        with pytest.raises(ShareUnavailableError, match="too much to do"):
            pool.run(int)
        gate.set()
        assert first.result() == "late"
    assert pool.run(int) == 0


def test_so_many_may_wait(gate: threading.Event) -> None:
    pool = _pool(waiting=1)
    work, entered = _holding(gate)
    with ThreadPoolExecutor() as others:
        first = others.submit(pool.run, work)
        assert entered.wait()
        second = others.submit(pool.run, int)
        while pool.state().waiting == 0:
            pass
        with pytest.raises(ShareUnavailableError, match="too much to do"):
            pool.run(int)
        gate.set()
        assert (first.result(), second.result()) == ("late", 0)


def test_what_hangs_is_given_up_and_then_nobody_waits(gate: threading.Event) -> None:
    pool = _pool(threads=2, waiting=8, limit_s=0.01)
    for _ in range(2):
        with pytest.raises(ShareUnavailableError, match=r"did not answer within 0.01 s"):
            pool.run(_holding(gate)[0])
    assert pool.state().hanging == 2
    with pytest.raises(ShareUnavailableError, match="hang"):
        pool.run(int)
    gate.set()
    assert pool.drained(60)
    assert pool.state().hanging == 0
    assert ShareThreads.run(pool, int) == 0


def test_what_waited_in_vain_is_never_done(gate: threading.Event) -> None:
    pool = _pool(waiting=1, limit_s=0.05)
    done: list[str] = []
    work, entered = _holding(gate)
    with ThreadPoolExecutor() as others:
        first = others.submit(pool.run, work)
        assert entered.wait()
        second = others.submit(pool.run, done.append, "second")
        for future in (first, second):
            assert isinstance(future.exception(), ShareUnavailableError)
    gate.set()
    assert pool.drained(60)
    assert done == []


def test_the_loop_goes_on_and_a_late_result_is_undone(gate: threading.Event) -> None:
    pool = _pool(limit_s=0.01)
    undone: list[str] = []

    async def main() -> None:
        assert await pool.call(lambda: 1) == 1
        with pytest.raises(ShareUnavailableError):
            await pool.call(_holding(gate)[0], undo=undone.append)

    asyncio.run(main())
    gate.set()
    assert pool.drained(60)
    assert undone == ["late"]


def test_work_is_over_when_it_is_undone(gate: threading.Event) -> None:
    pool = _pool(limit_s=0.01)
    undo, undoing = _holding(last := threading.Event())

    async def main() -> None:
        with pytest.raises(ShareUnavailableError):
            await pool.call(_holding(gate)[0], undo=lambda _: undo())

    asyncio.run(main())
    gate.set()
    assert undoing.wait()
    assert (pool.drained(0), pool.state().busy, pool.state().hanging) == (False, 1, 0)
    last.set()
    assert pool.drained(60)


def test_a_caller_that_is_cancelled_leaves_nothing_behind(gate: threading.Event) -> None:
    pool = _pool()
    undone: list[str] = []
    work, entered = _holding(gate)

    async def main() -> None:
        task = asyncio.create_task(pool.call(work, undo=undone.append))
        await asyncio.to_thread(entered.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert pool.state().hanging == 1
    gate.set()
    assert pool.drained(60)
    assert (undone, pool.state().hanging) == (["late"], 0)


def test_a_closed_pool_refuses() -> None:
    pool = _pool()
    pool.run(int)
    pool.close()
    with pytest.raises(ShareUnavailableError, match="being stopped"):
        pool.run(int)


def test_many_callers_at_once_are_all_counted_right() -> None:
    pool = _pool(threads=4, waiting=1000, limit_s=0.001)

    def ask(number: int) -> bool:
        try:
            return bool(pool.run(sum, range(number % 7 * 1000)) >= 0)
        except ShareUnavailableError:
            return False

    with ThreadPoolExecutor(32) as others:
        answers = list(others.map(ask, range(2000)))
    assert len(answers) == 2000
    assert pool.drained(60)
    state = pool.state()
    assert (state.busy, state.hanging, state.waiting) == (0, 0, 0)
