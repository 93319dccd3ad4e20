# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount a file system that reads every request and answers none, as a dead server of a hard mount does.

A process that waits for an answer to a request which was read cannot even be killed (Linux, fs/fuse/dev.c).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

#: <linux/fuse.h>: the header of a request and of an answer, and the number of the first request.
_REQUEST, _ANSWER, _INIT = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ"), 26
#: fuse_init_out: version 7.31 without any feature.
_INIT_ANSWER = struct.pack("<IIIIHHIIHHI7I", 7, 31, 65536, 0, 12, 9, 65536, 1, 0, 0, 0, *(0,) * 7)
#: Ends every wait (MNT_FORCE), and unmounts also what is in use (MNT_DETACH).
_FORCE_AND_DETACH = 1 | 2


@contextlib.contextmanager
def silent_mount(path: Path) -> Iterator[None]:
    """Mount one at `path`. After the block, everything that waits for it ends with an error."""
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    if libc.mount(b"silent", os.fsencode(path), b"fuse", 0, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    reader = threading.Thread(target=_read_requests, args=(device,))
    reader.start()
    try:
        yield
    finally:
        libc.umount2(os.fsencode(path), _FORCE_AND_DETACH)
        reader.join()
        os.close(device)


def _read_requests(device: int) -> None:
    while True:
        try:
            request = os.read(device, 1 << 20)
        except OSError:
            return
        _, opcode, unique, *_ = _REQUEST.unpack_from(request)
        if opcode == _INIT:
            os.write(device, _ANSWER.pack(_ANSWER.size + len(_INIT_ANSWER), 0, unique) + _INIT_ANSWER)
