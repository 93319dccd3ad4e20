# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mount an empty Btrfs, on which files can share extents, without the programs of btrfs-progs.

It has the fewest blocks that Linux mounts: a leaf for each tree, one chunk for the chunk tree and one for all else
(Btrfs, "On-disk format"). The kernel's own checks of each block are the test of this file.
"""

from __future__ import annotations

import struct
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECTOR = 4096
SIZE = 128 * 1024 * 1024
SUPER_AT, SUPER_BYTES = 64 * 1024, 4096
#: New in each process: Linux refuses a second file system with the same one.
FSID, DEVICE_ID, TREE_ID = (uuid.uuid4().bytes for _ in range(3))
#: Where the chunks lie, on the device and in the addresses of the file system alike: start, length, type.
SYSTEM = (1024 * 1024, 4 * 1024 * 1024, 2)
MIXED = (5 * 1024 * 1024, 112 * 1024 * 1024, 1 | 4)
#: Trees by number, each with a block of the second chunk; the chunk tree is the first block of the first.
ROOT_TREE, EXTENT_TREE, CHUNK_TREE, DEVICE_TREE, FILE_TREE, SUM_TREE, RELOCATION_TREE = 1, 2, 3, 4, 5, 7, 2**64 - 9
BLOCKS = {
    tree: MIXED[0] + number * SECTOR
    for number, tree in enumerate((ROOT_TREE, EXTENT_TREE, DEVICE_TREE, FILE_TREE, SUM_TREE, RELOCATION_TREE))
} | {CHUNK_TREE: SYSTEM[0]}
#: Mixed references, mixed chunks, long references of inodes, short metadata items, no holes.
FEATURES = 0x1 | 0x4 | 0x40 | 0x100 | 0x200
Items = dict[tuple[int, int, int], bytes]


def _make_table() -> list[int]:
    table = []
    for start in range(256):
        value = start
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _make_table()


def _add_sum(block: bytes) -> bytes:
    """Return a block with its CRC-32C in front."""
    value = 0xFFFFFFFF
    for byte in block:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return struct.pack("<I28x", value ^ 0xFFFFFFFF) + block


def _make_leaf(tree: int, items: Items) -> bytes:
    head = struct.pack("<16sQQ16sQQIB", FSID, BLOCKS[tree], 1 | 1 << 56, TREE_ID, 1, tree, len(items), 0)
    table, data = b"", b""
    room = SECTOR - 32 - len(head)
    for key in sorted(items):
        data = items[key] + data
        table += struct.pack("<QBQII", *key, room - len(data), len(items[key]))
    return _add_sum(head + table + bytes(room - len(table) - len(data)) + data)


def _make_inode() -> bytes:
    return struct.pack("<5Q4I3Q32x", 1, 0, 0, SECTOR, 0, 1, 0, 0, 0o40755, 0, 0, 0) + bytes(48)


def _make_root(tree: int) -> bytes:
    directory = 256 if tree in (FILE_TREE, RELOCATION_TREE) else 0
    values = struct.pack("<7QI17xBB", 1, directory, BLOCKS[tree], 0, SECTOR, 0, 0, 1, 0, 0)
    return _make_inode() + values + struct.pack("<Q", 1) + bytes(192)


def _make_chunk(start: int, length: int, kind: int) -> bytes:
    return struct.pack("<4Q3I2H2Q16s", length, 2, 65536, kind, SECTOR, SECTOR, SECTOR, 1, 1, 1, start, DEVICE_ID)


def _make_device() -> bytes:
    used = SYSTEM[1] + MIXED[1]
    return struct.pack("<3Q3I3QI2B16s16s", 1, SIZE, used, *[SECTOR] * 3, 0, 1, 0, 0, 0, 0, DEVICE_ID, FSID)


def _make_trees() -> dict[int, Items]:
    chunks = (SYSTEM, MIXED)
    top: Items = {(256, 1, 0): _make_inode(), (256, 12, 256): struct.pack("<QH", 0, 2) + b".."}
    used = {SYSTEM: SECTOR, MIXED: SECTOR * (len(BLOCKS) - 1)}
    return {
        ROOT_TREE: {(tree, 132, 0): _make_root(tree) for tree in BLOCKS if tree not in (ROOT_TREE, CHUNK_TREE)},
        CHUNK_TREE: {(1, 216, 1): _make_device(), **{(256, 228, chunk[0]): _make_chunk(*chunk) for chunk in chunks}},
        EXTENT_TREE: {
            **{(at, 169, 0): struct.pack("<3QBQ", 1, 1, 2, 176, tree) for tree, at in BLOCKS.items()},
            **{(one[0], 192, one[1]): struct.pack("<3Q", used[one], 256, one[2]) for one in chunks},
        },
        DEVICE_TREE: {(1, 204, one[0]): struct.pack("<4Q16s", 3, 256, one[0], one[1], TREE_ID) for one in chunks},
        FILE_TREE: top,
        RELOCATION_TREE: top,
        SUM_TREE: {},
    }


def _make_super() -> bytes:
    system = struct.pack("<QBQ", 256, 228, SYSTEM[0]) + _make_chunk(*SYSTEM)
    used = SECTOR * len(BLOCKS)
    head = struct.pack(
        "<16sQQ8sQQQQQQQQQ", FSID, SUPER_AT, 1, b"_BHRfS_M", 1, BLOCKS[ROOT_TREE], SYSTEM[0], 0, 0, SIZE, used, 6, 1
    )
    head += struct.pack("<5IQQQQH3B", SECTOR, SECTOR, SECTOR, SECTOR, len(system), 1, 0, 0, FEATURES, 0, 0, 0, 0)
    head += _make_device() + bytes(256 + 8 + 8 + 16 + 8 + 27 * 8) + system
    return _add_sum(head + bytes(SUPER_BYTES - 32 - len(head)))


def make_disk(path: Path) -> None:
    """Write the file of a disk with an empty Btrfs."""
    with path.open("wb") as stream:
        stream.truncate(SIZE)
        for tree, items in _make_trees().items():
            stream.seek(BLOCKS[tree])
            stream.write(_make_leaf(tree, items))
        stream.seek(SUPER_AT)
        stream.write(_make_super())


@contextmanager
def mounting_btrfs(directory: Path) -> Iterator[Path]:
    """Mount an empty Btrfs below a directory. Only root can."""
    disk, top = directory / "disk", directory / "btrfs"
    make_disk(disk)
    top.mkdir()
    subprocess.run(["mount", "-t", "btrfs", "-o", "loop", disk, top], check=True)
    try:
        yield top
    finally:
        subprocess.run(["umount", top], check=True)
