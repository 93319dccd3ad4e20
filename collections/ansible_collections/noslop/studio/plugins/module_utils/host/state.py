# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the state of a host that decides whether it can join a studio. Changes nothing, needs no package."""

from __future__ import annotations

import contextlib
import errno
import glob
import grp
import ipaddress
import os
import platform
import pwd
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo, sockets
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import PROPERTIES, Unit, parse_show
from ansible_collections.noslop.studio.plugins.module_utils.nfs import exports

CONNECT_S = 3.0
PROGRAM_TIMEOUT_S = 20.0
#: The host's IPv6 addresses, one a line (proc_net(5)).
_IF_INET6 = "/proc/net/if_inet6"
_LOCAL_ROUTE = re.compile(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL")


def read_text(path: str) -> str:
    """Return the text of a file, empty when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def read_accounts(names: Iterable[str]) -> dict[str, tuple[int, int, tuple[int, ...]]]:
    """Return uid, gid and all groups of those accounts that exist on this host, by name."""
    entries = {}
    for name in names:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            entries[name] = (entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)))
    return entries


def run_program(*command: str) -> str:
    """Return what a program prints; nothing where it is not installed or does not end in time."""
    program = shutil.which(command[0], path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROGRAM_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def read_python_version(program: str) -> str:
    """Return the version of an interpreter, such as ``3.11``; nothing where it is not installed."""
    return run_program(program, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()


def read_units(names: Sequence[str]) -> dict[str, Unit]:
    """Return the states of systemd units, by name."""
    return parse_show(names, run_program("systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", *names))


def parse_os_release(text: str) -> dict[str, str]:
    """Parse ``/etc/os-release`` (os-release(5))."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, __, value in pairs}


def find_account_conflicts(name: str, uid: int, gid: int) -> list[str]:
    """Return the accounts and groups that conflict with an account of this name and these numbers."""
    conflicts: list[str] = []
    with contextlib.suppress(KeyError):
        owner = pwd.getpwuid(uid).pw_name
        if owner != name:
            conflicts.append(f"the account {owner} has the uid {uid}")
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(gid).gr_name
        if group != name:
            conflicts.append(f"the group {group} has the gid {gid}")
    with contextlib.suppress(KeyError):
        account = pwd.getpwnam(name)
        if (account.pw_uid, account.pw_gid) != (uid, gid):
            conflicts.append(f"the account {name} exists with {account.pw_uid}:{account.pw_gid}")
    with contextlib.suppress(KeyError):
        own = grp.getgrnam(name)
        if own.gr_gid != gid:
            conflicts.append(f"the group {name} exists with the gid {own.gr_gid}")
    return conflicts


def find_unknown_users(names: Sequence[str]) -> list[str]:
    """Return those of these accounts that do not exist on the host."""
    unknown: list[str] = []
    for name in names:
        try:
            pwd.getpwnam(name)
        except KeyError:
            unknown.append(name)
    return unknown


def read_addresses() -> list[str]:
    """Return the host's own addresses that other hosts can use, from ``/proc``."""
    assigned = set(_LOCAL_ROUTE.findall(read_text("/proc/net/fib_trie")))
    for line in read_text(_IF_INET6).splitlines():
        assigned.add(str(ipaddress.ip_address(bytes.fromhex(line.split()[0]))))
    usable = [text for text in assigned if not ipaddress.ip_address(text).is_loopback]
    return sorted(text for text in usable if not ipaddress.ip_address(text).is_link_local)


def has_address(address: str) -> bool:
    """Return whether an address belongs to this host: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def find_route_error(address: str, port: int) -> tuple[str, bool]:
    """Return why a host cannot be reached, and whether that is certain. A refused connection counts as reached."""
    try:
        socket.create_connection((address, port), timeout=CONNECT_S).close()
    except ConnectionRefusedError:
        return "", False
    except OSError as error:
        certain = error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL)
        return str(error.strerror or error), certain
    return "", False


def supports(file_system: str, module: str) -> bool:
    """Return whether the kernel has a file system, or can load its module."""
    if any(line.split()[-1:] == [file_system] for line in read_text("/proc/filesystems").splitlines()):
        return True
    pattern = re.compile(rf"/{re.escape(module)}\.ko(\.\w+)?(:|$)", re.MULTILINE)
    base = f"/lib/modules/{platform.release()}"
    return any(pattern.search(read_text(f"{base}/{name}")) for name in ("modules.dep", "modules.builtin"))


def read_foreign_exports(ours: str = studio.EXPORTS_FILE) -> dict[str, str]:
    """Return the administrator's exports, which are not in the file ``ours``: path to the file that exports it."""
    paths: dict[str, str] = {}
    for file in ["/etc/exports", *sorted(glob.glob("/etc/exports.d/*.exports"))]:
        if file != ours:
            paths.update(dict.fromkeys(exports.parse_exports_file(read_text(file)), file))
    return paths


def offers_nfs3() -> bool:
    """Return whether an NFS server runs that accepts clients of version 3."""
    threads = read_text("/proc/fs/nfsd/threads").strip()
    return (
        threads.isdigit() and int(threads) > 0 and bool({"+2", "+3"} & set(read_text("/proc/fs/nfsd/versions").split()))
    )


def kernel_listens(port: int) -> bool:
    """Return whether a process or the kernel itself listens on a TCP port."""
    return any(one.port == port and one.protocol == "tcp" for one in sockets.read_listeners())


def read_free_bytes(path: str) -> int:
    """Return the space that ordinary accounts may still use where ``path`` is, or will be."""
    space = os.statvfs(_find_existing(path))
    return space.f_bavail * space.f_frsize


def read_free_space(paths: Iterable[str]) -> list[tuple[list[str], int]]:
    """Return, for each file system, those of ``paths`` that are or will be on it, and its free bytes."""
    by_device: dict[int, list[str]] = {}
    for path in paths:
        by_device.setdefault(os.stat(_find_existing(path)).st_dev, []).append(path)
    return [(on_one, read_free_bytes(on_one[0])) for on_one in by_device.values()]


def _find_existing(path: str) -> str:
    """Return ``path``, or the nearest directory above it that exists."""
    return next(directory for directory in [path, *mountinfo.parents(path)] if os.path.isdir(directory))


def read_identity() -> dict[str, object]:
    """Return the values by which hosts are distinguished."""
    return {
        "machine_id": read_text("/etc/machine-id").strip(),
        "hostname": platform.node(),
        "addresses": read_addresses(),
        "epoch": time.time(),
    }
