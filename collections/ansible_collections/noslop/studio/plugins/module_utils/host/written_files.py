# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record what NoSlop wrote on this host, so that a change by hand is noticed.

A file of root's, with the SHA-256 of each file and of each table of nftables as the kernel printed it. Every module
that writes such a file records it, whether it had to be written or not; the texts of secrets are not recorded.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TypeVar

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths

_Value = TypeVar("_Value")
PATH = f"{studio.STATE_DIR}/written-files.json"


@dataclass(frozen=True)
class Table:
    """A table of nftables: the checksum of what ``nft`` printed, and the version of ``nft``, which decides its form."""

    sha256: str
    version: str


@dataclass(frozen=True)
class Record:
    """The files and tables that were written: path to SHA-256, and name of a table to the table."""

    files: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)


def digest(content: bytes) -> str:
    """Return the SHA-256 of a content, as the record has it."""
    return hashlib.sha256(content).hexdigest()


def read(path: str = PATH) -> Record:
    """Return the record; an empty one where there is none, or one that cannot be parsed."""
    try:
        with open(path, encoding="utf-8") as stream:
            values = json.load(stream)
        tables = {name: Table(**table) for name, table in values["tables"].items()}
        return Record({name: str(sha256) for name, sha256 in values["files"].items()}, tables)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Record()


def update(files: Mapping[str, str | None], tables: Mapping[str, Table | None] | None = None, path: str = PATH) -> None:
    """Add to the record, replace, and remove what is ``None``.

    Does nothing where the directory of the record is missing, as on a host that is in no studio, or may not be written.

    Args:
        files: path to SHA-256.
        tables: name of a table to the table.
        path: the record.
    """
    directory, name = os.path.split(path)
    if not os.path.isdir(directory) or not os.access(directory, os.W_OK):
        return
    descriptor = safe_paths.open_directory(directory)
    try:
        # Two tasks may run at once, such as one that was cut off from its controller.
        lock = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=descriptor)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            before = read(path)
            after = Record(_merge(before.files, files), _merge(before.tables, tables or {}))
            if after != before:
                text = json.dumps(asdict(after), indent=1, sort_keys=True) + "\n"
                safe_paths.write_file(descriptor, name, text.encode(), os.geteuid(), os.getegid(), 0o600)
        finally:
            os.close(lock)
    finally:
        os.close(descriptor)


def _merge(before: Mapping[str, _Value], changes: Mapping[str, _Value | None]) -> dict[str, _Value]:
    merged: dict[str, _Value | None] = {**before, **changes}
    return {name: value for name, value in merged.items() if value is not None}
