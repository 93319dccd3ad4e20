# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of the system calls that decoding and forking need; every other one fails with EPERM (seccomp(2), mode filter).

What Pillow and FFmpeg call once they are loaded was read off with strace: they read, seek, allocate and look at the
clock. EPERM and not a signal, so that a decoder that is refused something continues without it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from noslop_backend.core.confinement import keep_privileges, prctl

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
# include/uapi/linux/seccomp.h
_KILL_PROCESS = 0x80000000
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM
# include/uapi/linux/bpf_common.h: load a word, compare, jump, return.
_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
# struct seccomp_data: nr, arch, instruction_pointer, args[6]; the low half of args[2], for little-endian machines.
_NUMBER, _ARCHITECTURE, _THIRD_ARGUMENT = 0, 4, 16 + 2 * 8
_PROT_EXEC = 4

#: AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64 (include/uapi/linux/audit.h).
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
#: Numbers on x86_64 and on aarch64.
_ALLOWED: dict[str, tuple[int, int]] = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "getpid": (39, 172),
    "exit": (60, 93),
    "gettimeofday": (96, 169),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    # Of the kernel itself, where a process was stopped and continues.
    "restart_syscall": (219, 128),
    "exit_group": (231, 94),
    "newfstatat": (262, 79),
    "getrandom": (318, 278),
}
#: What the fork server calls beside those: requests come in, a child is forked, confines itself, and ends.
_FORKING: dict[str, tuple[int, int]] = {
    **_ALLOWED,
    "poll": (7, 1024),
    "ppoll": (271, 73),
    "sendto": (44, 206),
    "recvmsg": (47, 212),
    "getsockopt": (55, 209),
    "getsockname": (51, 204),
    "ioctl": (16, 29),
    "fcntl": (72, 25),
    "dup2": (33, 1024),
    "dup3": (292, 24),
    "close_range": (436, 436),
    "clone": (56, 220),
    "wait4": (61, 260),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "uname": (63, 160),
    "getppid": (110, 173),
    "set_robust_list": (273, 99),
    "rseq": (334, 293),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "setrlimit": (160, 164),
    "seccomp": (317, 277),
}
#: Allowed where what they map cannot be executed: no decoder brings code along.
_ALLOWED_WITHOUT_EXEC: dict[str, tuple[int, int]] = {"mmap": (9, 222), "mprotect": (10, 226)}


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def allow_only_decoding() -> None:
    """Let this process make no system call from now on but those that decoding needs.

    Raises:
        OSError: the kernel has no seccomp, or there is no list for this machine.
    """
    _allow(_ALLOWED)


def allow_only_forking() -> None:
    """Let this process make no system call from now on but those of the fork server and of its children.

    Raises:
        OSError: as above.
    """
    _allow(_FORKING)


def _allow(calls: dict[str, tuple[int, int]]) -> None:
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"there is no list of system calls for {machine}, only for x86_64 and aarch64")
    code = b"".join(_program(calls, list(_ARCHITECTURES).index(machine), _ARCHITECTURES[machine]))
    text = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(text))
    keep_privileges()
    prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_void_p(ctypes.addressof(program)))


def _program(calls: dict[str, tuple[int, int]], column: int, architecture: int) -> list[bytes]:
    allowed = [numbers[column] for numbers in calls.values()]
    without_exec = [numbers[column] for numbers in _ALLOWED_WITHOUT_EXEC.values()]
    made = [
        _step(_LOAD, _ARCHITECTURE),
        # A call by another convention (32-bit) has other numbers. x32 has numbers above 2^30, which no list has.
        _step(_JUMP_EQUAL, architecture, yes=1),
        _step(_RETURN, _KILL_PROCESS),
        _step(_LOAD, _NUMBER),
    ]
    for number in allowed:
        made += [_step(_JUMP_EQUAL, number, no=1), _step(_RETURN, _ALLOW)]
    for number in without_exec:
        made += [
            _step(_JUMP_EQUAL, number, no=4),
            _step(_LOAD, _THIRD_ARGUMENT),
            _step(_JUMP_SET, _PROT_EXEC, yes=1),
            _step(_RETURN, _ALLOW),
            _step(_RETURN, _REFUSE),
        ]
    return [*made, _step(_RETURN, _REFUSE)]


def _step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    """Return one instruction (struct sock_filter), with how many it leaves out when a comparison holds or not."""
    return struct.pack("=HBBI", code, yes, no, value)
