# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse Samba's own database of passwords as pdbedit(8) prints it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.smb.nt_hash import make_nt_hash


@dataclass(frozen=True)
class Entry:
    """One user of the database. The hash is as good as the password, so it is in no ``repr``."""

    nt_hash: str
    enabled: bool

    def __repr__(self) -> str:
        """Return the entry without its hash."""
        return f"Entry(enabled={self.enabled})"


@dataclass(frozen=True)
class Changes:
    """Names of the users whose password is to be set, and of those that are to be removed."""

    added: tuple[str, ...]
    renewed: tuple[str, ...]
    removed: tuple[str, ...]


def parse_entries(text: str) -> dict[str, Entry]:
    """Parse the output of ``pdbedit --list --smbpasswd-style``: name, uid, LM hash, NT hash and flags."""
    entries: dict[str, Entry] = {}
    for line in text.splitlines():
        words = line.split(":")
        if len(words) >= 6 and words[1].isdigit():
            # D: disabled; N: no password is asked for.
            entries[words[0]] = Entry(words[3], not set("DN") & set(words[4]))
    return entries


def compare(entries: Mapping[str, Entry], passwords: Mapping[str, str]) -> Changes:
    """Return what has to change so that exactly these users have exactly these passwords."""
    wanted = {name: Entry(make_nt_hash(password), True) for name, password in passwords.items()}
    return Changes(
        added=tuple(sorted(wanted.keys() - entries.keys())),
        renewed=tuple(sorted(name for name in wanted.keys() & entries.keys() if wanted[name] != entries[name])),
        removed=tuple(sorted(entries.keys() - wanted.keys())),
    )
