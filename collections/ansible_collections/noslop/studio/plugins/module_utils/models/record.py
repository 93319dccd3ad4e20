# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remember on the storage server what was fetched and compared, so that no run reads gigabytes to find nothing to do.

A file of root's: members of the studio may write to the share, and not to this.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.models import whole_file

DIRECTORY = f"{studio.STATE_DIR}/models"
#: What runs of ``model_files`` fetched or compared, and what the daily check compared, by the path below the share; and
#: what else was read, by share and path. Each has one writer.
FETCHED, CHECKED, HASHED = "fetched.json", "checked.json", "hashed.json"


@dataclass(frozen=True)
class Entry:
    """A file as it was when its content was compared. ``size`` is in bytes, ``changed_ns`` its ctime.

    ``verified_at`` is when that was, in seconds since 1970; 0 in records of older versions.
    """

    sha256: str
    size: int
    inode: int
    changed_ns: int
    url: str
    verified_at: float = 0.0

    def is_of(self, status: os.stat_result) -> bool:
        """Return whether a file is still the one that was compared. Its owner can set mtime, and not ctime."""
        return self.matches(status.st_size, status.st_ino, status.st_ctime_ns)

    def matches(self, size: int, inode: int, changed_ns: int) -> bool:
        """Return whether these are the values of the file that was compared."""
        return (self.size, self.inode, self.changed_ns) == (size, inode, changed_ns)


def make_entry(sha256: str, url: str, status: os.stat_result, verified_at: float | None = None) -> Entry:
    """Return the entry of a file whose content has just been compared, or was at another time."""
    at = time.time() if verified_at is None else verified_at
    return Entry(sha256, status.st_size, status.st_ino, status.st_ctime_ns, url, at)


def read(directory: str, name: str = FETCHED) -> dict[str, Entry]:
    """Return the entries by the path below the share; none where there is no record, or a damaged one."""
    try:
        with open(os.path.join(directory, name), encoding="utf-8") as stream:
            return {path: Entry(**values) for path, values in json.load(stream).items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


def write(directory: str, entries: Mapping[str, Entry], name: str = FETCHED) -> None:
    """Write the entries, whole or not at all."""
    os.makedirs(directory, mode=0o755, exist_ok=True)
    content = {key: asdict(entry) for key, entry in sorted(entries.items())}
    whole_file.write_json(os.path.join(directory, name), content)
