# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the programs that run from a directory or write below it, stop them, and start them again as they were."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo, sockets, worker_processes

#: ComfyUI ends within this time after SIGTERM, except while it generates an image.
STOP_TIMEOUT_S = 30.0
_POLL_S = 0.1
_INTERPRETER = re.compile(r"(python|pypy)[\d.]*$")
_UNIT = re.compile(r"([^/]+\.service)(?:/|$)")


@dataclass(frozen=True)
class Process:
    """A running program, with everything that is needed to start it again."""

    pid: int
    #: ticks since boot when it started (proc_pid_stat(5)): another process may have the same pid later
    started: int
    account: worker_processes.Account
    arguments: tuple[str, ...]
    directory: str
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    #: the system unit that it belongs to, if any
    unit: str = ""
    #: the unit of its user's own service manager that it belongs to, if any
    user_unit: str = ""

    def describe(self) -> str:
        """Return a phrase by which the user can find the process."""
        return f"process {self.pid} ({' '.join(self.arguments)[:120]}) of {look_up_user_name(self.account.uid)}"


def find_running_from(directory: str, proc: str = "/proc") -> list[Process]:
    """Return the programs whose code lies in ``directory``: interpreters with a script there, and executables there.

    An editor, a pager or a shell whose working directory is there does not count.
    """
    root = os.path.realpath(directory)
    return [process for process in _all(proc) if _runs_from(process, root)]


def mentions(process: Process, directory: str) -> bool:
    """Return whether an argument of a process is a path in ``directory``, such as a start script."""
    root = os.path.realpath(directory)
    words = [os.path.realpath(os.path.join(process.directory, word)) for word in process.arguments]
    return any(mountinfo.is_below(word, root) and os.path.exists(word) for word in words)


def read(pid: int, proc: str = "/proc") -> Process | None:
    """Return a process from ``/proc``; ``None`` for kernel threads and for one that has ended."""
    return _read(proc, pid)


def find_writers_below(directories: Sequence[str], proc: str = "/proc") -> list[str]:
    """Return descriptions of processes that have a file below one of the directories open for writing."""
    roots = [os.path.realpath(directory) for directory in directories]
    descriptions = []
    for pid in _pids(proc):
        for path in _open_for_writing(f"{proc}/{pid}"):
            if any(mountinfo.is_below(path, root) for root in roots):
                process = _read(proc, pid)
                descriptions.append(f"{process.describe() if process else f'process {pid}'} writes {path}")
    return descriptions


def find_listeners(port: int) -> list[Process]:
    """Return the processes that listen on a TCP port."""
    listeners = sockets.read_listeners()
    links = {f"socket:[{one.inode}]" for one in listeners if one.port == port and one.protocol == "tcp"}
    processes = []
    for pid in _pids("/proc") if links else []:
        with contextlib.suppress(OSError):
            names = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            if links.intersection(names):
                process = _read("/proc", pid)
                processes += [process] if process else []
    return processes


def stop(process: Process, timeout_s: float = STOP_TIMEOUT_S) -> bool:
    """Stop a process by SIGTERM, then by SIGKILL. Returns whether it has ended."""
    for number, wait_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 5.0)):
        if not is_running(process):
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
        deadline = time.monotonic() + wait_s
        while is_running(process) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
    return not is_running(process)


def start_again(process: Process) -> None:
    """Start a program that was stopped, with the same arguments, directory, environment and account. Raises OSError."""
    subprocess.Popen(
        process.arguments,
        cwd=process.directory,
        env=process.environment,
        user=process.account.uid,
        group=process.account.gid,
        extra_groups=list(process.account.groups),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def is_running(process: Process, proc: str = "/proc") -> bool:
    """Return whether this very process still runs; a zombie does not."""
    return has_started_at(process.pid, process.started, proc)


def read_start(pid: int, proc: str = "/proc") -> int:
    """Return when a process started, in ticks since boot (proc_pid_stat(5)); -1 where there is none."""
    return _state(proc, pid)[1]


def read_state(pid: int, proc: str = "/proc") -> str:
    """Return the state of a process, such as S, T or D (proc_pid_stat(5)); empty where there is none."""
    return _state(proc, pid)[0]


def has_started_at(pid: int, started: int, proc: str = "/proc") -> bool:
    """Return whether the process with this number that started then still runs; a zombie does not."""
    state, current = _state(proc, pid)
    return current == started and state not in ("Z", "X", "")


def look_up_user_name(uid: int) -> str:
    """Return the name of an account, or its number where the host has no name for it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _all(proc: str) -> Iterator[Process]:
    for pid in _pids(proc):
        process = _read(proc, pid)
        if process is not None:
            yield process


def _pids(proc: str) -> list[int]:
    return sorted(int(name) for name in os.listdir(proc) if name.isdigit() and int(name) != os.getpid())


def _read(proc: str, pid: int) -> Process | None:
    """Return a process from ``/proc``; ``None`` for kernel threads and for one that has ended."""
    base = f"{proc}/{pid}"
    try:
        arguments = _words(f"{base}/cmdline")
        status = dict(line.split(":", 1) for line in _text(f"{base}/status").splitlines() if ":" in line)
        uid, gid = (int(status[name].split()[0]) for name in ("Uid", "Gid"))
        groups = tuple(int(word) for word in status["Groups"].split())
        directory = os.readlink(f"{base}/cwd")
        environment = dict(word.split("=", 1) for word in _words(f"{base}/environ") if "=" in word)
        cgroup = _text(f"{base}/cgroup")
    except (OSError, KeyError, ValueError):
        return None
    if not arguments:
        return None
    unit, user_unit = _units(cgroup)
    account = worker_processes.Account(uid, gid, groups)
    return Process(
        pid, _state(proc, pid)[1], account, tuple(arguments), directory, environment, unit=unit, user_unit=user_unit
    )


def _runs_from(process: Process, root: str) -> bool:
    program = process.arguments[0]
    if "/" in program:
        # the directory of the program's name, not the target of a link of that name: a venv's python is a link
        place, name = os.path.split(os.path.join(process.directory, program))
        if mountinfo.is_below(os.path.join(os.path.realpath(place), name), root):
            return True
    if not _INTERPRETER.search(os.path.basename(program)):
        return False
    scripts = [word for word in process.arguments[1:] if word.endswith(".py")]
    return any(mountinfo.is_below(os.path.realpath(os.path.join(process.directory, word)), root) for word in scripts)


def _open_for_writing(base: str) -> Iterator[str]:
    try:
        descriptors = os.listdir(f"{base}/fd")
    except OSError:
        return
    for descriptor in descriptors:
        with contextlib.suppress(OSError, ValueError):
            path = os.readlink(f"{base}/fd/{descriptor}")
            if path.startswith("/") and not path.startswith(("/dev/", "/proc/", "/sys/")):
                fields = dict(line.split(":", 1) for line in _text(f"{base}/fdinfo/{descriptor}").splitlines())
                if int(fields["flags"], 8) & (os.O_WRONLY | os.O_RDWR):
                    yield path


def _units(cgroup: str) -> tuple[str, str]:
    """Return the system unit and the user's unit in the text of ``/proc/<pid>/cgroup``, empty where there is none."""
    for line in cgroup.splitlines():
        path = line.split(":", 2)[-1]
        names = _UNIT.findall(path)
        if path.startswith("/user.slice/"):
            own = [name for name in names if not name.startswith("user@")]
            if names:
                return "", own[-1] if own else ""
        elif names:
            return names[-1], ""
    return "", ""


def _state(proc: str, pid: int) -> tuple[str, int]:
    try:
        # the second field is the name in parentheses, and may contain spaces and parentheses
        cells = _text(f"{proc}/{pid}/stat").rpartition(")")[2].split()
        return cells[0], int(cells[19])
    except (OSError, IndexError, ValueError):
        return "", -1


def _words(path: str) -> list[str]:
    with open(path, "rb") as stream:
        text = stream.read()
    return [os.fsdecode(word) for word in text.rstrip(b"\0").split(b"\0")] if text.strip(b"\0") else []


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read()
