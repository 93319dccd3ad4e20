# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep processes apart: the decoder's child reaches nothing, and nothing of its account reaches the backend."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backend.studio import png

#: What a decoder might be talked into, by name. Each gives a negative number where it failed, with errno, or raises.
_ATTEMPTS = """
import ctypes, mmap, os, resource, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
x86 = os.uname().machine == "x86_64"
parent = os.getppid()
word = ctypes.create_string_buffer(b"x" * 8, 8)

class Piece(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

piece = Piece(ctypes.addressof(word), 8)
#: An address of the parent; after a fork it is that of the same variable.
there = piece

def call(name, *words):
    found = getattr(libc, name)(*words)
    if found < 0:
        raise OSError(ctypes.get_errno(), name)

def number(x86_64, aarch64, *words):
    call("syscall", ctypes.c_long(x86_64 if x86 else aarch64), *words)

def across(name):
    call(name, parent, ctypes.byref(piece), 1, ctypes.byref(there), 1, 0)

def mapped():
    libc.mmap.restype = ctypes.c_void_p
    if libc.mmap(None, 4096, 7, 0x22, -1, 0) == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")

others = {
    "write into its parent": lambda: across("process_vm_writev"),
    "read its parent": lambda: across("process_vm_readv"),
    "trace its parent": lambda: call("ptrace", 16, parent, None, None),
    "seize its parent": lambda: call("ptrace", 0x4206, parent, None, None),
    "open its parent's memory": lambda: os.open(f"/proc/{parent}/mem", os.O_RDWR),
    "read its parent's environment": lambda: os.open(f"/proc/{parent}/environ", os.O_RDONLY),
    "look at its parent's files": lambda: os.listdir(f"/proc/{parent}/fd"),
    "take a descriptor of its parent": lambda: number(438, 438, os.pidfd_open(parent), 0, 0),
}
everything = {
    **others,
    "kill its parent": lambda: os.kill(parent, 0),
    "name its parent": lambda: number(434, 434, parent, 0),
    "signal by descriptor": lambda: number(424, 424, 0, 0, None, 0),
    "advise its parent's memory": lambda: number(440, 440, 0, None, 0, 21, 0),
    "read a file": lambda: open("/etc/passwd"),
    "read by openat2": lambda: number(437, 437, -100, b"/etc/passwd", word, 8),
    "open by handle": lambda: number(304, 265, 3, word, 0),
    "list a directory": lambda: os.listdir("/"),
    "write a file": lambda: os.open("/tmp/x", os.O_CREAT | os.O_WRONLY),
    "remove a file": lambda: os.unlink("/tmp/x"),
    "rename a file": lambda: os.rename("/tmp/x", "/tmp/y"),
    "link a file": lambda: os.link("/etc/passwd", "/tmp/y"),
    "make a link": lambda: os.symlink("/etc/passwd", "/tmp/y"),
    "make a directory": lambda: os.mkdir("/tmp/z"),
    "change a mode": lambda: os.chmod("/tmp", 0o777),
    "change the open file": lambda: os.fchmod(1, 0o777),
    "change an owner": lambda: os.chown("/tmp", 0, 0),
    "change its root": lambda: os.chroot("/"),
    "change its directory": lambda: os.chdir("/tmp"),
    "an internet socket": lambda: socket.socket(socket.AF_INET),
    "a local socket": lambda: socket.socket(socket.AF_UNIX),
    "a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "a pair of sockets": socket.socketpair,
    "a pipe": os.pipe,
    "a file in memory": lambda: os.memfd_create("x"),
    "an event descriptor": lambda: call("eventfd", 0, 0),
    "duplicate a descriptor": lambda: os.dup(0),
    "start a process": os.fork,
    "start a process by clone3": lambda: number(435, 435, word, 0),
    "run a program": lambda: os.execv("/bin/true", ["true"]),
    "run what is open": lambda: call("fexecve", 0, (ctypes.c_char_p * 1)(), (ctypes.c_char_p * 1)()),
    "mount": lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
    "unmount": lambda: call("umount2", b"/mnt", 0),
    "mount by open_tree": lambda: number(428, 428, -100, b"/", 0),
    "a namespace of users": lambda: call("unshare", 0x10000000),
    "another's namespace": lambda: call("setns", 0, 0),
    "bpf": lambda: number(321, 280, 0, word, 8),
    "perf events": lambda: number(298, 241, word, 0, -1, -1, 0),
    "io_uring": lambda: number(425, 425, 8, word),
    "userfaultfd": lambda: number(323, 282, 1),
    "keys": lambda: number(250, 219, 0, -3, 0),
    "kernel modules": lambda: number(175, 105, word, 8, b""),
    "another kernel": lambda: number(246, 104, 0, 0, None, 0),
    "another user": lambda: os.setuid(0),
    "another group": lambda: os.setgroups([0]),
    "be dumpable again": lambda: call("prctl", 4, 1, 0, 0, 0),
    "outlive its parent": lambda: call("prctl", 1, 0, 0, 0, 0),
    "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (9, 9)),
    "limits of its parent": lambda: resource.prlimit(parent, resource.RLIMIT_CPU),
    "a new session": os.setsid,
    "set the clock": lambda: call("clock_settime", 0, word),
    "code of its own": mapped,
    "run its memory": lambda: call("mprotect", ctypes.c_void_p(ctypes.addressof(word) & ~4095), 4096, 7),
    "terminal commands": lambda: call("ioctl", 1, 0x5412, word),
    "stop itself": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}

def refusals(attempts):
    said = {}
    for name, work in attempts.items():
        try:
            work()
            said[name] = "done"
        except (OSError, ValueError) as error:
            said[name] = "refused" if isinstance(error, (PermissionError, ValueError)) else repr(error)
    return said
"""

_CHILD = """
import io, json, sys
from noslop_backend.media.probe import child, images, seccomp, streams

path, account = sys.argv[1], int(sys.argv[3])
written = open(path + "/before", "wb", buffering=0)
images.prepare()
streams.prepare()
if account:
    os.setgroups([])
    os.setgid(account)
    os.setuid(account)
refused = {}

class Content(io.BytesIO):
    def read(self, size=-1):
        if not refused:
            refused.update(refusals(everything))
            for name, error, work in (
                ("write to what is open", OSError, lambda: written.write(b"x")),
                ("allocate", MemoryError, lambda: bytearray(2 << 30)),
            ):
                try:
                    work()
                    refused[name] = "done"
                except error:
                    refused[name] = "refused"
        return super().read(size)

lines = []
child.read_file(Content(bytes.fromhex(sys.argv[2])), child.Job("image/png", 1 << 30, 60, 30.0, True), lines.append)
os.write(1, json.dumps([lines[1]["facts"], refused]).encode())
os._exit(0)
"""


@pytest.mark.parametrize("account", [0, 65534], ids=["root", "nobody"])
def test_the_child_can_reach_nothing_while_it_decodes(tmp_path: Path, account: int) -> None:
    # What is root's is refused too: the kernel never gets as far as asking who calls.
    command = [sys.executable, "-I", "-c", _ATTEMPTS + _CHILD, str(tmp_path), png().hex(), str(account)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    facts, outcomes = json.loads(done.stdout)
    assert facts["decoded"] is True
    assert {name: outcome for name, outcome in outcomes.items() if outcome != "refused"} == {}
    assert len(outcomes) > 60
    assert (tmp_path / "before").read_bytes() == b""


_SERVER = """
import json
from noslop_backend.media.probe import seccomp
seccomp.allow_only_forking()
os.write(1, json.dumps(refusals(everything)).encode())
os._exit(0)
"""
#: What the fork server does for each file: it forks, confines the child, waits for it and ends it.
_OF_THE_SERVER = {
    *("duplicate a descriptor", "start a process", "signal by descriptor", "name its parent", "terminal commands"),
}
#: Calls that confine a process, or are refused with another error than EPERM.
_OF_CONFINING = {"be dumpable again", "outlive its parent", "raise a limit", "limits of its parent"}


def test_the_fork_server_can_open_and_run_nothing() -> None:
    done = subprocess.run([sys.executable, "-I", "-c", _ATTEMPTS + _SERVER], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    # Forked processes of the attempts write as well.
    outcomes = json.JSONDecoder().raw_decode(done.stdout.decode())[0]
    done_all_the_same = {name for name, outcome in outcomes.items() if outcome != "refused"}
    assert done_all_the_same <= _OF_THE_SERVER | _OF_CONFINING
    assert len(outcomes) > 50


_ALONE = """
import json, subprocess, sys
from noslop_backend.core import confinement
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
# What setuid(2) leaves is up to fs.suid_dumpable.
confinement.prctl(4, 1)
if sys.argv[1] == "protected":
    confinement.protect_memory()
mine = ctypes.create_string_buffer(b"kept as it is")
there = Piece(ctypes.addressof(mine), 8)
reads, writes = os.pipe()
if os.fork() == 0:
    parent = os.getppid()
    # Who traces its parent stops it.
    tried = others if sys.argv[1] == "protected" else {"write into its parent": others["write into its parent"]}
    os.write(writes, json.dumps(refusals(tried)).encode())
    os._exit(0)
os.close(writes)
said = b""
while piece := os.read(reads, 65536):
    said += piece
os.wait()
os.write(1, json.dumps([json.loads(said), mine.value.decode()]).encode())
"""


def _of_the_same_account(how: str) -> tuple[dict[str, str], str]:
    command = [sys.executable, "-I", "-c", _ATTEMPTS + _ALONE, how]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    said, content = json.loads(done.stdout)
    return said, content


def test_the_same_account_cannot_reach_the_backends_memory() -> None:
    said, content = _of_the_same_account("protected")
    assert set(said.values()) == {"refused"}, said
    assert content == "kept as it is"


def test_it_could_reach_a_process_that_is_not_protected() -> None:
    said, content = _of_the_same_account("open")
    assert said == {"write into its parent": "done"}
    assert content != "kept as it is"


def test_every_command_of_the_backend_is_protected() -> None:
    code = """
import os, sys
from noslop_backend import cli
from noslop_backend.core import confinement
from noslop_backend.cli.context import become
cli.main(["--version"])
first = confinement.is_memory_protected()
os.environ["HOME"] = "/"
become("nobody")
print(first, confinement.is_memory_protected(), os.geteuid())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True True 65534"


def test_a_child_ends_with_its_parent() -> None:
    code = """
import os, sys
from noslop_backend.core import confinement
parent = os.getpid()
reads, writes = os.pipe()
child = os.fork()
if child == 0:
    os.close(reads)
    confinement.end_with(parent)
    os.write(writes, b"x")
    os.read(0, 1)
    os._exit(0)
os.close(writes)
os.read(reads, 1)
print(child, flush=True)
os.kill(parent, 9)
"""
    # The child holds standard output: it ends when the child has ended, and this one never writes to its input.
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.read())
    assert parent.returncode == -signal.SIGKILL
    # Its descriptors are closed a moment before it is gone; the process that inherits it waits for it.
    while _state(child) not in {None, "Z", "X"}:
        pass


def _state(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def test_a_child_whose_parent_is_gone_does_not_begin() -> None:
    code = "from noslop_backend.core import confinement; confinement.end_with(1); print('began')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the process 1, which asked for this, is gone" in done.stderr
    assert done.stdout == ""
