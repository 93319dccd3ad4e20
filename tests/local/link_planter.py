# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plant links below every directory that an account of the studio may write to, and list all other files.

Usage, as root on a host of a studio:
    link_planter.py links KIND   put a link in the place of each entry, and print how many; KIND is one of
                                 leaves (files but the shares' markers), branches (directories), all
    link_planter.py undo         restore the entries
    link_planter.py list         print the other files as JSON: path to owner, mode, type, link and content
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import stat
import sys
from collections.abc import Iterator

ACCOUNTS = {entry.pw_uid for entry in pwd.getpwall() if entry.pw_name.split("-")[0] == "noslop"}
#: What the links lead to: nothing here belongs to an account, and nothing here may change.
TRAP = "/srv/trap"
UNDO = "/root/planted.json"
ASIDE = ".was-here"
MARKER = ".noslop-share"
#: Not a host's own state, or written by the host itself all the time.
IGNORED = (
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/tmp",
    "/var/tmp",
    "/var/log",
    "/var/cache",
    "/var/lib/systemd",
    "/root",
    "/home",
)
#: Names that programs open for writing: a link of each is planted in every directory too.
COMMON_NAMES = (
    "constraints.txt",
    ".noslop-venv.json.new",
    ".noslop-release.json.new",
    ".noslop-share",
    ".tmp",
    "requirements.txt",
)
LARGEST_HASHED_BYTES = 4_000_000


def is_writable(path: str) -> bool:
    """Return whether an account of the studio may write to a directory."""
    status = os.lstat(path)
    return stat.S_ISDIR(status.st_mode) and (
        status.st_uid in ACCOUNTS or (status.st_gid in ACCOUNTS and bool(status.st_mode & stat.S_IWGRP))
    )


def list_owned_directories() -> list[str]:
    """Return the directories that accounts may write to, each before the ones in it."""
    owned = []
    for path, directories, _ in os.walk("/"):
        directories[:] = [name for name in directories if os.path.join(path, name) not in IGNORED]
        if is_writable(path):
            owned.append(path)
    return owned


def generate_targets() -> Iterator[str]:
    """Yield a file, a directory and names that do not exist, in turn; each is outside of what accounts own."""
    count = 0
    while True:
        count += 1
        yield f"{TRAP}/file"
        yield f"{TRAP}/directory"
        yield f"{TRAP}/missing-{count}"


def plant_links(kind: str) -> int:
    """Replace the entries of account-owned directories with links, by kind. Return how many."""
    os.makedirs(f"{TRAP}/directory/kept", exist_ok=True)
    for name in ("file", "directory/kept/file"):
        with open(f"{TRAP}/{name}", "w", encoding="utf-8") as stream:
            stream.write("this file must not change\n")
    planted: list[list[str]] = []
    target = generate_targets()
    for directory in list_owned_directories():
        if not os.path.isdir(directory) or os.path.realpath(directory) != directory:
            continue  # a link was planted above it
        names = os.listdir(directory)
        if kind != "branches":
            names += [name for name in COMMON_NAMES if name not in names]
        for name in names:
            path = os.path.join(directory, name)
            exists = os.path.lexists(path)
            if name.endswith(ASIDE) or not (not exists or kind == "all" or os.path.isdir(path) == (kind == "branches")):
                continue
            if name == MARKER and kind == "leaves":
                continue  # without the marker the roles stop early, which `all` tests
            if exists:
                os.rename(path, path + ASIDE)
            os.symlink(next(target), path)
            planted.append([path, path + ASIDE if exists else ""])
    with open(UNDO, "w", encoding="utf-8") as stream:
        json.dump(planted, stream)
    return len(planted)


def undo() -> int:
    """Remove the links and restore the entries. Keep beside them what a deployment made in their place."""
    with open(UNDO, encoding="utf-8") as stream:
        planted = json.load(stream)
    for path, aside in reversed(planted):
        if os.path.islink(path):
            os.unlink(path)
        if aside and os.path.lexists(aside):
            if os.path.lexists(path):
                os.rename(path, path + ".made-meanwhile")
            os.rename(aside, path)
    return len(planted)


def list_files() -> dict[str, list[object]]:
    """Return owner, mode and content of every file that no account of the studio owns."""
    entries: dict[str, list[object]] = {}
    for path, directories, files in os.walk("/"):
        directories[:] = [
            name for name in directories
            if os.path.join(path, name) not in IGNORED and not is_writable(os.path.join(path, name))
        ]  # fmt: skip
        for name in [*directories, *files]:
            whole = os.path.join(path, name)
            status = os.lstat(whole)
            entry: list[object] = [status.st_uid, status.st_gid, oct(status.st_mode)]
            if stat.S_ISLNK(status.st_mode):
                entry.append(os.readlink(whole))
            elif stat.S_ISREG(status.st_mode):
                entry.append(status.st_size)
                if status.st_size <= LARGEST_HASHED_BYTES and not path.startswith("/usr/lib"):
                    with open(whole, "rb") as stream:
                        entry.append(hashlib.sha256(stream.read()).hexdigest())
            entries[whole] = entry
    return entries


if __name__ == "__main__":
    command = sys.argv[1]
    print(json.dumps(plant_links(sys.argv[2]) if command == "links" else undo() if command == "undo" else list_files()))
