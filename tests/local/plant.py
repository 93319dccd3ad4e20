# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plant links below every directory that an account of the studio may write to, and list the rest of the file system.

Usage, as root on a host of a studio:
    plant.py links KIND     put a link in the place of everything there, and print how many; KIND is one of
                            leaves (files but the shares' markers), branches (directories), all
    plant.py undo           bring back what was there
    plant.py list           print the rest of the file system as JSON: path to owner, mode, type, link and content
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
PASSED_OVER = (
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
#: Names that programs like to open for writing: a link of this name is planted in each directory besides.
TEMPTING = (
    "constraints.txt",
    ".noslop-venv.json.new",
    ".noslop-release.json.new",
    ".noslop-share",
    ".tmp",
    "requirements.txt",
)
LARGEST_HASHED_BYTES = 4_000_000


def writable(path: str) -> bool:
    """Whether an account of the studio may put something into a directory."""
    about = os.lstat(path)
    return stat.S_ISDIR(about.st_mode) and (
        about.st_uid in ACCOUNTS or (about.st_gid in ACCOUNTS and bool(about.st_mode & stat.S_IWGRP))
    )


def owned_directories() -> list[str]:
    """Directories that accounts may write to, each before what is in it."""
    found = []
    for path, directories, _ in os.walk("/"):
        directories[:] = [name for name in directories if os.path.join(path, name) not in PASSED_OVER]
        if writable(path):
            found.append(path)
    return found


def targets() -> Iterator[str]:
    """Yield a file, a directory and names that do not exist, in turn; each is outside of what accounts own."""
    count = 0
    while True:
        count += 1
        yield f"{TRAP}/file"
        yield f"{TRAP}/directory"
        yield f"{TRAP}/missing-{count}"


def plant(kind: str) -> int:
    """Put links in the place of what lies in account-owned directories, by kind."""
    os.makedirs(f"{TRAP}/directory/kept", exist_ok=True)
    for name in ("file", "directory/kept/file"):
        with open(f"{TRAP}/{name}", "w", encoding="utf-8") as stream:
            stream.write("nobody may change this\n")
    undo: list[list[str]] = []
    target = targets()
    for directory in owned_directories():
        if not os.path.isdir(directory) or os.path.realpath(directory) != directory:
            continue  # a link was planted above it
        names = os.listdir(directory)
        if kind != "branches":
            names += [name for name in TEMPTING if name not in names]
        for name in names:
            path = os.path.join(directory, name)
            there = os.path.lexists(path)
            if name.endswith(ASIDE) or not (not there or kind == "all" or os.path.isdir(path) == (kind == "branches")):
                continue
            if name == MARKER and kind == "leaves":
                continue  # without it the roles go no further, which is tried with `all`
            if there:
                os.rename(path, path + ASIDE)
            os.symlink(next(target), path)
            undo.append([path, path + ASIDE if there else ""])
    with open(UNDO, "w", encoding="utf-8") as stream:
        json.dump(undo, stream)
    return len(undo)


def bring_back() -> int:
    """Take the links away. What a deployment made in their place stays beside."""
    with open(UNDO, encoding="utf-8") as stream:
        undo = json.load(stream)
    for path, aside in reversed(undo):
        if os.path.islink(path):
            os.unlink(path)
        if aside and os.path.lexists(aside):
            if os.path.lexists(path):
                os.rename(path, path + ".made-meanwhile")
            os.rename(aside, path)
    return len(undo)


def rest() -> dict[str, list[object]]:
    """Describe everything that no account of the studio owns."""
    entries: dict[str, list[object]] = {}
    for path, directories, files in os.walk("/"):
        directories[:] = [
            name for name in directories
            if os.path.join(path, name) not in PASSED_OVER and not writable(os.path.join(path, name))
        ]  # fmt: skip
        for name in [*directories, *files]:
            whole = os.path.join(path, name)
            about = os.lstat(whole)
            entry: list[object] = [about.st_uid, about.st_gid, oct(about.st_mode)]
            if stat.S_ISLNK(about.st_mode):
                entry.append(os.readlink(whole))
            elif stat.S_ISREG(about.st_mode):
                entry.append(about.st_size)
                if about.st_size <= LARGEST_HASHED_BYTES and not path.startswith("/usr/lib"):
                    with open(whole, "rb") as stream:
                        entry.append(hashlib.sha256(stream.read()).hexdigest())
            entries[whole] = entry
    return entries


if __name__ == "__main__":
    command = sys.argv[1]
    print(json.dumps(plant(sys.argv[2]) if command == "links" else bring_back() if command == "undo" else rest()))
