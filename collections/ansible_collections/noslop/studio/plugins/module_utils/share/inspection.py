# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspect a share for verification: read its state, write a nonce, read those of other hosts, remove its own.

Every function here accesses a path that may block for ever, so each runs in a worker process
(``host.worker_processes``), and returns JSON values. None of them judges: ``checks.storage_checks`` does.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo
from ansible_collections.noslop.studio.plugins.module_utils.share import markers

#: Directory on each share for the files of a verification, removed when it is empty.
DIRECTORY = ".noslop-verify"
#: Directory of the files that ComfyUI's loader of checkpoints lists.
CHECKPOINTS = "checkpoints"
PROBE_PREFIX = "noslop-verify-"
#: Name, before that of the host, of the file that a host writes and removes each time it checks its shares by itself.
OWN_PREFIX = ".noslop-check."
#: The smallest valid safetensors file: the length of its header, and an empty header.
PROBE_CONTENT = (2).to_bytes(8, "little") + b"{}"
#: Files of an interrupted verification are removed by a later one when they are this old.
STALE_S = 3600
#: A file of another host appears late where a client caches directories.
CACHE_BOUND_S = 15.0
POLL_S = 0.5


def inspect(path: str) -> dict[str, Any]:
    """Return the state of a share, without writing to it. Triggers the automount, and waits for it."""
    os.stat(os.path.join(path, "."))
    table = mountinfo.read_mounts()
    status, space = os.stat(path), os.statvfs(path)
    holding = mountinfo.mount_containing(table, os.path.realpath(path))
    return {
        "mount": asdict(holding) if holding else None,
        "is_mount_point": mountinfo.mount_at(table, path) is not None,
        "device": f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}",
        "uid": status.st_uid,
        "gid": status.st_gid,
        "mode": stat.S_IMODE(status.st_mode),
        "free_bytes": space.f_bavail * space.f_frsize,
        "inodes": space.f_files,
        "free_inodes": space.f_favail,
        "marker": _read_marker(os.path.join(path, studio.MARKER)),
    }


def write_nonce(path: str, name: str, content: str) -> dict[str, Any]:
    """Write a file to the share, and return its owner and the difference between this clock and the file server's.

    The difference is positive where this host is ahead. A utime(2) without a time uses the server's clock (nfs(5)).
    """
    _refresh_directory_cache(path, name)
    directory = os.path.join(path, DIRECTORY)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o775)
    descriptor = os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
        before = time.time()
        os.utime(stream.fileno())
        status = os.fstat(stream.fileno())
        after = time.time()
    return {"uid": status.st_uid, "gid": status.st_gid, "clock_s": (before + after) / 2 - status.st_mtime}


def measure_write(path: str, host: str) -> dict[str, Any]:
    """Write a small file to the disk of the share and remove it. Return its owner, and how long the write took.

    A file of this name, from a check that was cut off, is replaced. Never follows a link.
    """
    file = os.path.join(path, OWN_PREFIX + re.sub(r"[^A-Za-z0-9._-]", "_", host))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(file)
    before = time.monotonic()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        os.write(descriptor, b"NoSlop checks this share. This file is removed at once.\n")
        os.fsync(descriptor)
        write_s = time.monotonic() - before
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
        os.unlink(file)
    return {"uid": status.st_uid, "gid": status.st_gid, "write_s": write_s}


def try_to_write(path: str, name: str) -> dict[str, Any]:
    """Try to make a file in a share that is read-only here, and return why that was refused; empty where it was not.

    A file that could be made is removed.
    """
    temporary = os.path.join(path, f"{DIRECTORY}.{name}")
    try:
        os.mkdir(temporary, 0o775)
    except OSError as error:
        return {"refused_write": str(error.strerror)}
    os.rmdir(temporary)
    return {"refused_write": ""}


def _refresh_directory_cache(path: str, name: str) -> None:
    """Make this client discard its cache of a directory of the server.

    The cache may contain entries, such as a marker, for a minute after they were removed (acdirmax of nfs(5)). A client
    that changes a directory learns from the reply whether others did before, and then looks every entry up again.
    """
    temporary = os.path.join(path, f"{DIRECTORY}.{name}")
    os.mkdir(temporary, 0o775)
    with contextlib.suppress(FileNotFoundError):  # another verification has just removed it
        os.rmdir(temporary)


def write_probe(models: str, name: str) -> bool:
    """Write an empty model to ComfyUI's directory of checkpoints. Returns False where there is no such directory."""
    directory = os.path.join(models, CHECKPOINTS)
    if not os.path.isdir(directory):
        return False
    descriptor = os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with open(descriptor, "wb") as stream:
        stream.write(PROBE_CONTENT)
        stream.flush()
        os.fsync(stream.fileno())
    return True


def read_nonces(path: str, expected: Mapping[str, Mapping[str, str]], bound_s: float = CACHE_BOUND_S) -> dict[str, str]:
    """Read what other hosts wrote, waiting for it for at most ``bound_s`` seconds.

    Args:
        path: the share.
        expected: host name to the ``file`` and the ``content`` that it wrote.
        bound_s: how long a file may take to appear.

    Returns:
        Host name to an empty string where its file contains what it wrote, else to the problem.
    """
    deadline = time.monotonic() + bound_s
    wrong = dict.fromkeys(expected, "")
    while True:
        for host, written in expected.items():
            wrong[host] = _nonce_problem(os.path.join(path, DIRECTORY, written["file"]), written["content"])
        if not any(wrong.values()) or time.monotonic() >= deadline:
            return wrong
        time.sleep(POLL_S)


def clean(path: str, token: str) -> list[str]:
    """Remove the files of this verification from a share, and old ones of interrupted verifications."""
    removed: list[str] = []
    directory = os.path.join(path, DIRECTORY)
    removed += _remove_files(directory, re.compile(r".+"), token)
    # Its own directory when it is empty, and the remains of an interrupted _refresh_directory_cache.
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(path):
            if name.startswith(DIRECTORY):
                with contextlib.suppress(OSError):  # other hosts have files in it
                    os.rmdir(os.path.join(path, name))
    probes = re.compile(re.escape(PROBE_PREFIX) + r".+\.safetensors")
    removed += _remove_files(os.path.join(path, CHECKPOINTS), probes, token)
    return removed


def make_file_names(host: str, token: str) -> tuple[str, str]:
    """Return the names of the nonce and of the probe of one host in one verification."""
    word = re.sub(r"[^A-Za-z0-9._-]", "_", host)
    return f"{word}.{token}", f"{PROBE_PREFIX}{word}.{token}.safetensors"


def list_writable(paths: Mapping[str, str]) -> dict[str, bool]:
    """Return whether this account may write to each path, by the same name."""
    return {name: may_write(path) for name, path in paths.items()}


def may_write(path: str) -> bool:
    """Return whether the account of this process may write below ``path``. Writes nothing."""
    return os.access(path, os.W_OK | os.X_OK)


def _remove_files(directory: str, pattern: re.Pattern[str], token: str) -> list[str]:
    removed: list[str] = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in sorted(os.scandir(directory), key=lambda item: item.name):
            if not pattern.fullmatch(entry.name):
                continue
            with contextlib.suppress(FileNotFoundError):
                ours = bool(token) and f".{token}" in entry.name
                if ours or time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE_S:
                    os.unlink(entry.path)
                    removed.append(entry.path)
    return removed


def _nonce_problem(path: str, content: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            current = stream.read(4096)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return "" if current == content else f"{path} holds something else than was written"


def _read_marker(path: str) -> dict[str, str]:
    try:
        return {"text": markers.read(path), "error": ""}
    except OSError as error:
        return {"text": "", "error": str(error.strerror)}
