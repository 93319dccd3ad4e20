"""Test that programs are stopped before their directory is adopted, and started again after a failure."""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.adopt import file_copy, file_tree, replacement
from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo, processes, worker_processes

from tests.support.module_runner import run_module
from tests.support.waiting import wait_until

MAIN = "import pathlib, signal\npathlib.Path('runs').write_text('yes')\nsignal.pause()\n"


def started_as(pid: int, name: str) -> processes.Process:
    """Return the process as soon as it executes the program."""
    while True:
        process = processes.read(pid)
        if process is not None and process.arguments[0] == name:
            return process
        time.sleep(0.02)


class Program:
    """A program that runs from a user's directory, as ComfyUI does."""

    def __init__(self, root: Path) -> None:
        self.home = root / "ComfyUI"
        self.share = root / "share"
        (self.home / "models").mkdir(parents=True)
        (self.home / "models/a").write_text("1")
        (self.home / "main.py").write_text(MAIN)
        self.share.mkdir()
        (self.share / ".noslop-share").write_text(json.dumps({"studio_id": "here", "share": "comfyui_models"}))
        self.process = subprocess.Popen(
            [sys.executable, "main.py", "", "--port", "8188"], cwd=self.home, env={"LUCK": "good luck"}
        )
        wait_until((self.home / "runs").exists)

    def adopt(self, *, check: bool = False) -> dict[str, Any]:
        pair = {"src": str(self.home / "models"), "dest": str(self.share), "share": "comfyui_models"}
        arguments = {"pairs": [pair], "account": getpass.getuser(), "studio_id": "here", "running_from": str(self.home)}
        return run_module("adopt_directory", arguments, check=check)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path)
    yield program
    program.process.kill()
    program.process.wait()
    for process in processes.find_running_from(str(program.home)):
        os.kill(process.pid, signal.SIGKILL)


def test_program_is_stopped_and_reported(program: Program) -> None:
    assert program.process.poll() is None
    check = program.adopt(check=True)
    assert program.process.poll() is None
    answer = program.adopt()
    assert program.process.wait() == -signal.SIGTERM
    assert answer["stopped"] == check["stopped"]
    (stopped,) = answer["stopped"]
    assert f"process {program.process.pid} " in stopped
    assert "main.py" in stopped


def test_program_that_runs_from_links_is_not_stopped(program: Program) -> None:
    program.adopt()
    again = subprocess.Popen([sys.executable, str(program.home / "main.py")], cwd=program.home)
    try:
        assert not program.adopt()["changed"]
        assert again.poll() is None
    finally:
        again.kill()
        again.wait()


def test_program_is_started_again_after_a_failure(program: Program) -> None:
    with (program.home / "models/download").open("w") as stream:
        stream.write("half")
        answer = program.adopt()
    assert answer["failed"]
    assert f"process {os.getpid()} " in answer["msg"]
    assert f"{program.home}/models/download" in answer["msg"]
    assert (program.home / "models").is_dir()
    assert not (program.home / "models").is_symlink()
    program.process.wait()
    wait_until(lambda: bool(processes.find_running_from(str(program.home))))
    (again,) = processes.find_running_from(str(program.home))
    assert again.arguments == (sys.executable, "main.py", "", "--port", "8188")
    assert again.directory == str(program.home)
    assert again.environment["LUCK"] == "good luck"


def test_conflict_stops_no_program(program: Program) -> None:
    (program.share / "a").write_text("2")
    assert program.adopt()["failed"]
    assert program.process.poll() is None


def test_only_programs_are_listed(tmp_path: Path) -> None:
    """Start processes that read a file of the directory, or have it as working directory: they do not run from it."""
    (tmp_path / "main.py").write_text(MAIN)
    others = [
        subprocess.Popen(["tail", "-f", str(tmp_path / "main.py")], stdout=subprocess.DEVNULL),
        subprocess.Popen(["sleep", "1000"], cwd=tmp_path),
    ]
    try:
        for other, name in zip(others, ("tail", "sleep"), strict=True):
            started_as(other.pid, name)
        assert processes.find_running_from(str(tmp_path)) == []
    finally:
        for other in others:
            other.kill()
            other.wait()


def test_interpreter_in_the_directory_runs_from_it(tmp_path: Path) -> None:
    (tmp_path / "venv/bin").mkdir(parents=True)
    (tmp_path / "venv/bin/python").symlink_to("/bin/sleep")
    (tmp_path / "alias").symlink_to(tmp_path / "venv")
    started = subprocess.Popen([str(tmp_path / "alias/bin/python"), "1000"])
    try:
        wait_until(lambda: bool(processes.find_running_from(str(tmp_path))))
    finally:
        started.kill()
        started.wait()


def test_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + MAIN)
    started = subprocess.Popen([sys.executable, "main.py"], cwd=tmp_path)
    wait_until((tmp_path / "runs").exists)
    (process,) = processes.find_running_from(str(tmp_path))
    assert processes.stop(process, timeout_s=0.2)
    assert started.wait() == -signal.SIGKILL


def test_reused_pid_is_not_killed(tmp_path: Path) -> None:
    started = subprocess.Popen(["sleep", "1000"])
    try:
        current = started_as(started.pid, "sleep")
        earlier = processes.Process(
            current.pid, current.started - 1, current.account, current.arguments, current.directory
        )
        assert processes.stop(earlier)
        assert started.poll() is None
    finally:
        started.kill()
        started.wait()


@pytest.mark.parametrize(
    ("cgroup", "unit", "user_unit"),
    [
        ("0::/system.slice/comfyui.service\n", "comfyui.service", ""),
        ("1:name=systemd:/system.slice/comfyui.service\n0::/\n", "comfyui.service", ""),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/comfy.service\n", "", "comfy.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", "", ""),
        ("0::/user.slice/user-1000.slice/user@1000.service/init.scope\n", "", ""),
        ("0::/system.slice/docker-0123.scope\n", "", ""),
        ("0::/\n", "", ""),
    ],
)
def test_unit_of_a_process_is_parsed_from_its_cgroup(tmp_path: Path, cgroup: str, unit: str, user_unit: str) -> None:
    base = tmp_path / "7"
    base.mkdir()
    (base / "cmdline").write_bytes(b"python3\0main.py\0")
    (base / "environ").write_bytes(b"A=1\0")
    (base / "status").write_text(
        "Name:\tpython3\nUid:\t1000\t1000\t1000\t1000\nGid:\t100\t100\t100\t100\nGroups:\t100 27 \n"
    )
    (base / "stat").write_text("7 (a ) b) S 1 " + " ".join(str(number) for number in range(5, 53)))
    (base / "cgroup").write_text(cgroup)
    (base / "cwd").symlink_to("/home/artist/ComfyUI")
    process = processes.read(7, str(tmp_path))
    assert process is not None
    assert (process.unit, process.user_unit) == (unit, user_unit)
    assert process.account == worker_processes.Account(1000, 100, (100, 27))


MOUNTINFO = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 254:16 / /home/artist/ComfyUI/models/checkpoints rw,relatime shared:2 - ext4 /dev/vdb rw
"""


@pytest.mark.parametrize("source", ["/home/artist/ComfyUI/models", "/home/artist/ComfyUI/models/checkpoints"])
def test_mount_point_is_refused(source: str) -> None:
    pair = replacement.Pair(source, "/mnt/noslop/comfyui/models", file_copy.Rules())
    with pytest.raises(file_copy.CopyError, match="something is mounted at /home/artist/ComfyUI/models/checkpoints"):
        replacement.refuse_mounts(pair, mountinfo.parse_mountinfo(MOUNTINFO))


def test_share_without_free_space_is_refused(tmp_path: Path) -> None:
    pair = replacement.Pair("/home/artist/ComfyUI/models", str(tmp_path), file_copy.Rules())
    large = file_tree.Entry("checkpoints/large", "file", "/nowhere", size_bytes=2**60)
    pair.comparison.missing.append((large, large.path))
    with pytest.raises(file_copy.CopyError, match=r"GB free, and 1152921504\.6 GB are to be copied"):
        replacement.require_free_space([pair])
