# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take rights from this process, and from others of its account, by prctl(2)."""

from __future__ import annotations

import ctypes
import os
import signal

# include/uapi/linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38

_LIBC = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, argument: int | ctypes.c_void_p = 0, second: int | ctypes.c_void_p = 0) -> int:
    """Ask the kernel for an operation on this process.

    Raises:
        OSError: the kernel refuses.
    """
    words = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in (argument, second, 0, 0)]
    result: int = _LIBC.prctl(ctypes.c_int(option), *words)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
    return result


def protect_memory() -> None:
    """Keep other processes of the same account from reading, writing and tracing this one, and from its core.

    They could otherwise by ptrace(2), process_vm_writev(2) and /proc/PID/mem. A change of account by setuid(2) and an
    exec undo this (PR_SET_DUMPABLE(2const)), so it is called after those.
    """
    prctl(_PR_SET_DUMPABLE, 0)


def is_memory_protected() -> bool:
    """Return whether `protect_memory` is in effect now."""
    return prctl(_PR_GET_DUMPABLE) == 0


def keep_privileges() -> None:
    """Gain no privileges by any exec from now on, as of setuid programs."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def end_with(parent: int) -> None:
    """End when the thread that started this process ends, or its process did so already.

    Raises:
        ProcessLookupError: the parent is gone.
    """
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise ProcessLookupError(f"the process {parent}, which asked for this, is gone")
