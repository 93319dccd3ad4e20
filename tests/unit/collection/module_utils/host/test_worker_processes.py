# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test workers that answer, fail, hang and end: the parent always continues."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes


def test_every_worker_returns_its_own_answer() -> None:
    outcomes = worker_processes.run_all({"one": lambda: [1], "two": lambda: {"a": "x" * 200_000}}, None, 30)

    assert outcomes["one"].value == [1]
    assert len(outcomes["two"].value["a"]) == 200_000
    assert not any(outcome.error or outcome.hung for outcome in outcomes.values())


def test_error_is_returned_and_not_raised() -> None:
    missing = worker_processes.run_one(lambda: os.listdir("/nowhere/at/all"), None, 30)
    wrong = worker_processes.run_one(lambda: dict[str, str]()["key"], None, 30)

    assert missing.error == "No such file or directory (/nowhere/at/all)"
    assert wrong.error == "KeyError: 'key'"
    assert not missing.hung


def test_hanging_worker_is_killed_and_the_others_return(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    def hang() -> None:
        pid_file.write_text(str(os.getpid()))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()

    outcomes = worker_processes.run_all({"hangs": hang, "answers": os.getpid}, None, 1)

    assert outcomes["hangs"].hung
    assert outcomes["hangs"].error == "no answer within 1 s"
    assert outcomes["answers"].value > 0
    with contextlib.suppress(ChildProcessError):  # its exit status may have been collected already
        _, status = os.waitpid(int(pid_file.read_text()), 0)
        assert os.WTERMSIG(status) == signal.SIGKILL


def test_worker_without_an_answer_is_an_error() -> None:
    outcome = worker_processes.run_one(lambda: os._exit(3), None, 30)

    assert outcome.error == "the worker process ended without an answer"
    assert not outcome.hung


def test_worker_keeps_no_file_of_its_parent_open() -> None:
    read_end, write_end = os.pipe()

    def list_descriptors() -> dict[str, Any]:
        links = {name: os.readlink(f"/proc/self/fd/{name}") for name in ("0", "1", "2")}
        return {"links": links, "has_pipe": os.path.exists(f"/proc/self/fd/{write_end}"), "cwd": os.getcwd()}

    outcome = worker_processes.run_one(list_descriptors, None, 30)
    os.close(read_end)
    os.close(write_end)

    assert set(outcome.value["links"].values()) == {"/dev/null"}
    assert not outcome.value["has_pipe"]
    assert outcome.value["cwd"] == "/"


def test_refused_change_of_account_is_an_error() -> None:
    if os.geteuid() == 0:
        outcome = worker_processes.run_one(
            lambda: [os.getresuid(), os.getresgid()], worker_processes.Account(65534, 65534), 30
        )
        assert outcome.value == [[65534] * 3, [65534] * 3]
        inner = worker_processes.run_one(
            lambda: worker_processes.run_one(os.getuid, worker_processes.Account(1, 1), 30).error,
            worker_processes.Account(65534, 65534),
            30,
        )
        assert inner.value.startswith("Operation not permitted")
    else:
        assert worker_processes.run_one(os.getuid, worker_processes.Account(1, 1), 30).error.startswith(
            "Operation not permitted"
        )


def test_unknown_account_has_only_its_own_group() -> None:
    assert worker_processes.account_for(61234, 61235) == worker_processes.Account(61234, 61235, (61235,))


def test_stream_yields_what_the_worker_sends_and_raises_its_error() -> None:
    def work(send: Callable[[object], None]) -> None:
        send({"number": 1})
        send([2])
        raise OSError(28, "No space left on device", "/share")

    received: list[object] = []
    stream = worker_processes.stream(work, None)
    with pytest.raises(OSError, match=r"No space left on device \(/share\)"):
        received.extend(stream)
    assert received == [{"number": 1}, [2]]


def test_worker_ends_when_its_values_are_no_longer_read() -> None:
    def work(send: Callable[[object], None]) -> None:
        while True:
            with contextlib.suppress(OSError):
                send(os.getpid())

    stream = worker_processes.stream(work, None)
    pid = next(stream)
    stream.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
