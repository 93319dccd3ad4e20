# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read which file systems a host mounts at its start (fstab(5))."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import unescape_octal

PATH = "/etc/fstab"


@dataclass(frozen=True)
class Entry:
    """One line: what is mounted, where, and whether only on request (``noauto``)."""

    source: str
    point: str
    noauto: bool = False


def read(path: str = PATH) -> list[Entry]:
    """Return the entries of a host's fstab; none where it has no such file."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return parse(stream.read())
    except FileNotFoundError:
        return []


def parse(text: str) -> list[Entry]:
    """Return the entries in the text of an fstab, without ``/`` and swap."""
    entries = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 3 or words[0].startswith("#"):
            continue
        point = unescape_octal(words[1]).rstrip("/")
        if point.startswith("/"):
            noauto = len(words) > 3 and "noauto" in words[3].split(",")
            entries.append(Entry(unescape_octal(words[0]), point, noauto))
    return entries
