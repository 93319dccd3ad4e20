# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try, as a custom node of ComfyUI, to become root and to access files of other accounts.

Copy this file to the share of custom nodes and restart ComfyUI. It runs when it is imported, and writes the results to
``hostile_node.json`` in ComfyUI's output directory: each of ``attempts`` is ``refused`` (with the reason) or
``SUCCEEDED``; ``own`` are the operations that ComfyUI needs and must be able to do.
"""
# ruff: noqa: S103, S108 - it tries wide modes and world-writable directories on purpose

from __future__ import annotations

import ctypes
import glob
import json
import os
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable

STORAGE = "/mnt/noslop"
STATE = "/var/lib/noslop/comfyui"
OUTPUT = f"{STATE}/output"
BACKEND = "http://127.0.0.1:8765/api/v1/projects"
AT_FDCWD, CLONE_NEWNS, CLONE_NEWUSER, PTRACE_ATTACH = -100, 0x00020000, 0x10000000, 16
LIBC = ctypes.CDLL(None, use_errno=True)

NODE_CLASS_MAPPINGS: dict[str, type] = {}


class RefusedError(Exception):
    """An attempt failed."""


def read(path: str) -> None:
    """Read a file, or list a directory."""
    if os.path.isdir(path):
        os.listdir(path)
        return
    with open(path, "rb") as stream:
        stream.read(1)


def write(path: str) -> None:
    """Write a new file and remove it."""
    with open(path, "x", encoding="ascii") as stream:
        stream.write("hostile")
    os.unlink(path)


def append(path: str) -> None:
    """Open a file for writing, without changing it."""
    os.close(os.open(path, os.O_WRONLY | os.O_APPEND))


def run(*command: str) -> None:
    """Run a program that ends with 0 where the attempt succeeds."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode != 0:
        raise RefusedError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])


def call(name: str, *arguments: object) -> None:
    """Call a function of the C library that returns -1 where it fails."""
    if getattr(LIBC, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def become_root() -> None:
    """Change the user id."""
    os.setuid(0)


def keep_setuid_program() -> None:
    """Create a program that runs as the account for every user."""
    path = f"{STATE}/temp/setuid"
    with open(path, "w", encoding="ascii") as stream:
        stream.write("#!/bin/sh\n")
    try:
        os.chmod(path, 0o4755)
    finally:
        os.unlink(path)


def make_device() -> None:
    """Make a device file of the first disk."""
    os.mknod(f"{STATE}/temp/disk", 0o600 | stat.S_IFBLK, os.makedev(8, 0))
    os.unlink(f"{STATE}/temp/disk")


def read_disk() -> None:
    """Read any disk."""
    last: OSError = FileNotFoundError("no device file of a disk")
    for path in (
        "/dev/mem",
        "/dev/kmem",
        "/proc/kcore",
        *glob.glob("/dev/[svx]d*"),
        *glob.glob("/dev/nvme*"),
        *glob.glob("/dev/dm-*"),
    ):
        try:
            read(path)
            return
        except OSError as error:
            last = error
    raise last


def own_pids() -> set[int]:
    """List the processes of the own account that are visible, and the threads of this one."""
    visible = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    own = {int(name) for name in os.listdir("/proc/self/task")}
    for pid in visible:
        try:
            if os.stat(f"/proc/{pid}").st_uid == os.getuid():
                own.add(pid)
        except FileNotFoundError:
            continue
    return own


def any_process(attempt: Callable[[int], object]) -> Callable[[], None]:
    """Return an attempt that runs the given one on each process of another account."""

    def each() -> None:
        with subprocess.Popen(["true"]) as newest:
            last_pid = newest.pid
        own, last = own_pids(), OSError("no such process")
        for pid in range(1, last_pid):
            if pid in own:
                continue
            try:
                attempt(pid)
                return
            except OSError as error:
                if not isinstance(error, ProcessLookupError | FileNotFoundError):
                    last = error
        raise last

    return each


def connect(*paths: str) -> Callable[[], None]:
    """Return an attempt to connect to one of these sockets."""

    def each() -> None:
        last = FileNotFoundError(2, "No such file or directory")
        for path in paths:
            with socket.socket(socket.AF_UNIX) as client:
                try:
                    client.connect(path)
                    return
                except OSError as error:
                    last = error  # type: ignore[assignment]  # any of its kinds
        raise last

    return each


def list_projects() -> None:
    """List the projects without a token."""
    try:
        urllib.request.urlopen(BACKEND, timeout=10).close()
    except urllib.error.HTTPError as error:
        raise RefusedError(f"{error.code} {error.reason}") from error


def open_socket(family: int, kind: int) -> Callable[[], None]:
    """Return an attempt to open such a socket."""
    return lambda: socket.socket(family, kind).close()


def ptrace(pid: int) -> None:
    """Trace a process."""
    call("ptrace", PTRACE_ATTACH, pid, None, None)


ATTEMPTS: dict[str, Callable[[], object]] = {
    # root, now
    "sudo": lambda: run("sudo", "--non-interactive", "true"),
    "su": lambda: run("su", "--command", "true", "root"),
    "pkexec": lambda: run("pkexec", "--disable-internal-agent", "true"),
    "setuid(0)": become_root,
    "setgroups": lambda: os.setgroups([0]),
    "a setuid program": keep_setuid_program,
    "a user namespace": lambda: call("unshare", CLONE_NEWUSER),
    "a mount namespace": lambda: call("unshare", CLONE_NEWNS),
    "mount": lambda: call("mount", b"none", f"{STATE}/temp".encode(), b"tmpfs", 0, None),
    "remount /": lambda: run("mount", "--options", "remount,rw", "/"),
    "chroot": lambda: os.chroot("/"),
    "mknod": make_device,
    "a disk, memory": read_disk,
    "a kernel module": lambda: run("modprobe", "loop"),
    "core_pattern": lambda: append("/proc/sys/kernel/core_pattern"),
    "sysrq": lambda: append("/proc/sysrq-trigger"),
    "control groups": lambda: os.mkdir("/sys/fs/cgroup/hostile"),
    "reboot": lambda: call("reboot", 0),
    "systemctl": lambda: run("systemctl", "start", "emergency.service"),
    "systemd-run": lambda: run("systemd-run", "--wait", "true"),
    # root, later
    **{
        f"write {directory}": lambda directory=directory: write(f"{directory}/hostile")  # type: ignore[misc]
        for directory in (
            "/etc",
            "/etc/cron.d",
            "/etc/systemd/system",
            "/run/systemd/system",
            "/etc/sudoers.d",
            "/etc/profile.d",
            "/etc/noslop",
            "/usr/local/bin",
            "/usr/local/sbin",
            "/usr/lib/systemd/system",
            "/opt",
            "/opt/noslop",
            "/opt/noslop/comfyui",
            "/root",
            "/home",
            "/boot",
            "/var/spool/cron/crontabs",
            "/var/lib",
            "/var/lib/noslop",
            "/var/tmp/..",
            "/run",
            "/dev/shm/..",
        )
    },
    "change /etc/passwd": lambda: append("/etc/passwd"),
    "change its own program": lambda: append(sys.modules["__main__"].__file__ or ""),
    "change its own interpreter": lambda: append(os.path.realpath(sys.executable)),
    "replace its state directory": lambda: os.rename(STATE, f"{STATE}.old"),
    # files of other accounts
    "list the storage root": lambda: read(f"{STORAGE}/projects/.noslop-share"),
    **{
        f"read {path}": lambda path=path: read(path)  # type: ignore[misc]
        for path in (
            f"{STORAGE}/projects",
            f"{STORAGE}/media_cache",
            f"{STORAGE}/ollama/models",
            "/etc/shadow",
            "/root",
            "/home/artist",
            "/etc/noslop/backend.env",
            "/etc/noslop/credentials",
            "/etc/noslop/credentials/noslop-comfyui.service/environment",
            "/var/lib/noslop/backend",
            "/var/lib/noslop/backend/backend.sqlite3",
            "/var/lib/noslop/backend/backup.key",
            "/etc/ssh/ssh_host_ed25519_key",
            "/run/credentials",
            "/var/lib/postgresql",
        )
    },
    **{
        f"write {path}": lambda path=path: write(f"{path}/hostile")  # type: ignore[misc]
        for path in (f"{STORAGE}/projects", f"{STORAGE}/media_cache", f"{STORAGE}/ollama/models", STORAGE)
    },
    # code that other hosts run
    "a custom node for others": lambda: write(f"{STORAGE}/comfyui/custom_nodes/hostile_too.py"),
    "change a custom node": lambda: append(__file__),
    "replace a custom node": lambda: os.rename(__file__, f"{__file__}.old"),
    "make custom nodes writable": lambda: os.chmod(os.path.dirname(__file__), 0o777),
    # other processes
    "environment of a process": any_process(lambda pid: read(f"/proc/{pid}/environ")),
    "root of a process": any_process(lambda pid: os.listdir(f"/proc/{pid}/root/")),
    "memory of a process": any_process(lambda pid: read(f"/proc/{pid}/mem")),
    "command line of a process": any_process(lambda pid: read(f"/proc/{pid}/cmdline")),
    "trace a process": any_process(ptrace),
    "signal a process": any_process(lambda pid: os.kill(pid, 0)),
    # sockets without authentication
    "D-Bus": connect("/run/dbus/system_bus_socket"),
    "systemd": connect("/run/systemd/private", *glob.glob("/run/user/*/bus")),
    "containers": connect("/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock"),
    "PostgreSQL": connect("/run/postgresql/.s.PGSQL.5432", "/tmp/.s.PGSQL.5432"),
    "the backend without a token": list_projects,
    "a raw socket": open_socket(socket.AF_INET, socket.SOCK_RAW),
    "a packet socket": open_socket(socket.AF_PACKET, socket.SOCK_RAW),
}

OWN: dict[str, Callable[[], object]] = {
    "write outputs": lambda: write(f"{OUTPUT}/hostile"),
    "write its user directory": lambda: write(f"{STATE}/user/hostile"),
    "write temporary files": lambda: write("/tmp/hostile"),
    "read models": lambda: read(f"{STORAGE}/comfyui/models/.noslop-share"),
    "read custom nodes": lambda: read(f"{STORAGE}/comfyui/custom_nodes"),
    "read free memory": lambda: read("/proc/meminfo"),
}


def outcome(attempt: Callable[[], object]) -> str:
    """Run an attempt and return its result."""
    try:
        attempt()
    except (OSError, RefusedError, subprocess.TimeoutExpired) as error:
        return f"refused: {error}"
    return "SUCCEEDED"


def main() -> None:
    """Run all attempts and write their results."""
    answers = {
        "attempts": {name: outcome(attempt) for name, attempt in ATTEMPTS.items()},
        "own": {name: outcome(attempt) for name, attempt in OWN.items()},
    }
    with open(f"{OUTPUT}/hostile_node.json", "w", encoding="utf-8") as stream:
        json.dump(answers, stream, indent=1)
    succeeded = [name for name, answer in answers["attempts"].items() if answer == "SUCCEEDED"]
    print(
        f"hostile node: {len(ATTEMPTS) - len(succeeded)} of {len(ATTEMPTS)} refused; succeeded: {succeeded}", flush=True
    )


main()
