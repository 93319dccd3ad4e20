# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A share that hangs, really: a file system whose server never answers is mounted over it.

Every access then blocks in the kernel, as on a hard NFS mount whose server is away, until the mount is taken away.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.backend.mounts import mounted


@contextmanager
def hanging(path: Path) -> Iterator[None]:
    """Let everything below a directory hang until the end of the block. Needs root and /dev/fuse, as mount(2) does."""
    # Nobody ever reads from this descriptor: every request waits for its answer (fuse(4)).
    device = os.open("/dev/fuse", os.O_RDWR)
    try:
        options = f"fd={device},rootmode=40000,user_id={os.geteuid()},group_id={os.getegid()}"
        with mounted("fuse", path, options):
            yield
    finally:
        os.close(device)
