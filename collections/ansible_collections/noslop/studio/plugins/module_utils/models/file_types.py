# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide by its content whether a file can be the model that its name promises.

A server that wants a login answers with a page and 200, and the page would be listed as a model.
"""

from __future__ import annotations

import json
import os
import struct
from typing import BinaryIO

#: What :func:`find_problem` reads of a file.
HEAD_BYTES = 1024
#: The format's own limit (safetensors, README, "Format").
SAFETENSORS_HEADER_BYTES = 100_000_000
_SAFETENSORS = (".safetensors", ".sft")
_TEXTS = (".json", ".yaml", ".yml", ".txt", ".md")
#: The first bytes of each type: a zip archive or a pickle of protocol 2 and later for PyTorch's files.
_STARTS: dict[tuple[str, ...], tuple[bytes, ...]] = {
    (".gguf",): (b"GGUF",),
    (".pt", ".pth", ".ckpt"): (b"PK\x03\x04", b"\x80"),
    (".zip",): (b"PK\x03\x04",),
}
_PAGES = (b"<!doctype html", b"<html", b"<?xml")
_LFS_POINTER = b"version https://git-lfs"


def find_problem(name: str, head: bytes) -> str:
    """Return why a file cannot be the one that ``name`` promises, as what it is instead; empty where it can be.

    Args:
        name: the name of the file; its ending decides.
        head: its first :data:`HEAD_BYTES` bytes, or all where it is shorter.
    """
    ending = os.path.splitext(name)[1].lower()
    text = head.lstrip().lower()
    if text.startswith(_PAGES):
        return "a web page, as of a login"
    if head.startswith(_LFS_POINTER):
        return "a pointer of Git LFS, and not the file itself"
    if ending in _TEXTS:
        return ""
    if ending in _SAFETENSORS:
        length = struct.unpack("<Q", head[:8])[0] if len(head) > 8 else 0
        is_header = 2 <= length <= SAFETENSORS_HEADER_BYTES and head[8:9] == b"{"
        return "" if is_header else _describe(text, "no safetensors file")
    for endings, starts in _STARTS.items():
        if ending in endings and not head.startswith(starts):
            return _describe(text, f"no file of the type {ending}")
    return "" if head else "empty"


def find_problem_of_whole(name: str, stream: BinaryIO, size_bytes: int) -> str:
    """Return why a whole file cannot be used, like :func:`find_problem`; a safetensors file knows its own length."""
    head = stream.read(HEAD_BYTES)
    problem = find_problem(name, head)
    if problem or os.path.splitext(name)[1].lower() not in _SAFETENSORS:
        return problem
    length = struct.unpack("<Q", head[:8])[0]
    stream.seek(8)
    try:
        header = json.loads(stream.read(length))
        ends = [int(entry["data_offsets"][1]) for key, entry in header.items() if key != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return "a safetensors file with a damaged header"
    wanted_bytes = 8 + length + max(ends, default=0)
    if wanted_bytes != size_bytes:
        return f"a safetensors file of {wanted_bytes} bytes, of which {size_bytes} are there"
    return ""


def _describe(text: bytes, otherwise: str) -> str:
    return "an answer in JSON" if text.startswith((b"{", b"[")) else otherwise
