# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the way of a plan, or is worth knowing before it is carried out: each with its next step. Pure."""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Mapping, Sequence

from ansible_collections.noslop.studio.plugins.module_utils.share import own_file_system

from noslop_driver.models import Host, Problem, ServiceRole, Wishes
from noslop_driver.planning.scoring import GB, Room, disk_of, gb, largest_disk

SUPPORTED_OS = {"Debian": (12,), "Ubuntu": (22, 4)}
"""Distribution to the oldest version the roles are written for."""
SERVICE_ARCHES = ("x86_64", "amd64", "aarch64", "arm64")
"""What Ollama publishes releases for, and PyTorch wheels."""
_SYSTEM_DIRECTORIES = """
/ /bin /boot /dev /etc /home /lib /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp
/usr /usr/bin /usr/lib /usr/local /usr/sbin /usr/share /var /var/cache /var/lib /var/log /var/spool /var/tmp
"""
"""Directories that others rely on: to give one to the studio's account would break them."""


def runs_services(host: Host) -> bool:
    """Whether there are Ollama and PyTorch for its architecture; an unknown one gets the benefit of the doubt."""
    return not host.arch or host.arch in SERVICE_ARCHES


def split_unfit(hosts: Sequence[Host]) -> tuple[list[Host], list[Problem]]:
    """Part the hosts that can be members from those that cannot, with the reason for each of these."""
    fit, problems = [], []
    for host in hosts:
        problem = _unfit(host)
        if problem is None:
            fit.append(host)
        else:
            problems.append(problem)
    return fit, problems


def no_hosts() -> Problem:
    """Nobody to make a studio of."""
    return Problem(
        kind="no_hosts",
        what="There is no host to make a studio of.",
        todo="Name machines (--host) or a network (--network), or --local for this computer alone.",
    )


def alone(host: Host) -> Problem:
    """One host, and a provider that shares between hosts."""
    return Problem(
        kind="one_host",
        host=host.name,
        what="With one host there is nobody to share storage with: its directories stay local, without NFS.",
        todo="Nothing, if one machine is what you want. Add more hosts at any time and deploy again.",
        fatal=False,
    )


def same_machine(kept: Host, dropped: Host) -> Problem:
    """Two names for one machine."""
    return Problem(
        kind="same_machine",
        host=dropped.name,
        what=f"{_where(dropped)} and {_where(kept)} are one machine; only {kept.name} is planned.",
        todo=f"Nothing, or name the address you prefer (--host {dropped.address}).",
        fatal=False,
    )


def cloned(one: Host, other: Host) -> Problem:
    """Two machines with one machine-id."""
    return Problem(
        kind="cloned_machine_id",
        host=other.name,
        what=f"{_where(other)} has the same machine-id as {_where(one)}, as copies of one image do.",
        todo=f"If they are one machine, name only one of them. If not, give {other.name} an id of its own, as root "
        "there: `rm /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup; reboot`.",
        fatal=False,
    )


def of_wishes(wishes: Wishes, members: Sequence[Host]) -> list[Problem]:
    """What cannot be had: hosts that are not there, directories in the wrong place, a provider that does not fit."""
    names = [host.name for host in members]
    problems = [
        Problem(
            kind="unknown_host",
            host=name,
            what=f"{name} was chosen for a part of the studio, but is none of its hosts ({', '.join(names)}).",
            todo="Check the spelling; if it is right, see above why this host is not among them.",
        )
        for name in sorted({wishes.server, *wishes.roles} - {None, *names}, key=str)
    ]
    if wishes.storage_provider == "local" and len(members) > 1:
        problems.append(
            Problem(
                kind="local_with_many",
                what=f"Local storage is for one machine, and there are {len(members)}: nobody would share anything.",
                todo="Use the storage provider nfs (or existing, for a file system that all of them mount already), "
                "or name one host.",
            )
        )
    shares = wishes.shares()
    directories = {"the storage root": wishes.storage_root, **{share.name: share.path for share in shares}}
    problems += [
        Problem(
            kind="system_directory",
            what=f"{path} is a directory of the system; the studio would change who owns it and who may read it.",
            todo=f"Choose a directory of its own for {name}, like {posixpath.join(path, 'noslop')}.",
        )
        for name, path in directories.items()
        if posixpath.normpath(path) in _SYSTEM_DIRECTORIES.split()
    ]
    for share in shares:
        inside = next((other for other in shares if share.path.startswith(other.path.rstrip("/") + "/")), None)
        if inside:
            problems.append(
                Problem(
                    kind="nested_directories",
                    what=f"{share.path} ({share.name}) lies inside {inside.path} ({inside.name}), which is mounted on "
                    "its own.",
                    todo="Choose directories that lie beside each other.",
                )
            )
    return problems


def of_addresses(members: Sequence[Host]) -> list[Problem]:
    """Addresses that other members cannot use. One host alone needs none."""
    if len(members) == 1:
        return []
    problems = []
    addresses = {host.name: _address(host) for host in members}
    for host in members:
        address = addresses[host.name]
        if address is None:
            seen, todo = "a name, and exports and firewall rules are written with addresses", "Name its address."
        elif address.is_loopback:
            seen, todo = "an address that other hosts cannot reach", "Name its address in the studio's network."
        elif address.is_link_local:
            seen, todo = "an address that means something on one cable only", "Name its IPv4 or its routable address."
        elif host.addresses and host.address not in host.addresses:
            problems.append(
                Problem(
                    kind="translated_address",
                    host=host.name,
                    what=f"{host.name} was reached at {host.address}, but its own addresses are "
                    f"{', '.join(host.addresses)}: something translates in between.",
                    todo="If the other hosts see it under another address, set noslop_address for it in the inventory.",
                    fatal=False,
                )
            )
            continue
        else:
            continue
        problems.append(Problem(kind="address", host=host.name, what=f"{_where(host)} has {seen}.", todo=todo))
    by_address: dict[str, list[str]] = {}
    for host in members:
        by_address.setdefault(host.address, []).append(host.name)
    problems += [
        Problem(
            kind="address_clash",
            host=names[-1],
            what=f"{', '.join(names)} have one address, {address}: exports and firewall rules cannot tell them apart.",
            todo="Name each by an address of its own that the others can reach.",
        )
        for address, names in sorted(by_address.items())
        if len(names) > 1
    ]
    versions = {address.version for address in addresses.values() if address}
    if len(versions) > 1:
        sixes = sorted(name for name, address in addresses.items() if address and address.version == 6)
        problems.append(
            Problem(
                kind="mixed_addresses",
                host=sixes[0],
                what=f"{', '.join(sixes)} would be in the studio by IPv6 and the others by IPv4: they would not meet.",
                todo="Name the IPv4 address of each of these.",
            )
        )
    return problems


def of_room(server: Host, room: Room, members: Sequence[Host], wishes: Wishes) -> list[Problem]:
    """Too little free space on the storage server, or nothing known about it."""
    wanted = gb(wishes.min_free_gb * GB)
    if room.enough == "unknown":
        return [
            Problem(
                kind="room_unknown",
                host=server.name,
                what=f"{server.name} did not say how much is free where the shares would lie ({wishes.storage_root}).",
                todo=f"Nothing: it is measured before anything is stored, and less than {wanted} is refused then.",
                fatal=False,
            )
        ]
    tightest = room.tightest
    if room.enough == "yes" or tightest is None:
        return []
    others = [
        f"{host.name} has {gb(disk.free_bytes)} on {disk.mount}"
        for host in members
        if (disk := largest_disk(host)) and disk.free_bytes >= wishes.min_free_gb * GB
    ]
    elsewhere = f" There is room: {'; '.join(others)}." if others else ""
    chosen = server.name == wishes.server
    who = f"{server.name} was chosen as storage server, but" if chosen else f"No host has {wanted} free:"
    return [
        Problem(
            kind="no_room",
            host=server.name,
            what=f"{who} {server.name} has {gb(tightest.free_bytes)} on {tightest.mount}, where shares would lie, and "
            f"{wanted} are needed.",
            todo=f"Make room, put the storage root or single directories on a larger disk, "
            f"{'choose another host, ' if chosen and len(members) > 1 else ''}or lower noslop_min_free_gb.{elsewhere}",
        )
    ]


def of_file_systems(server: Host, wishes: Wishes) -> list[Problem]:
    """Shares that lie on a file system with other things, which members can read with forged file handles."""
    if wishes.storage_provider != "nfs":
        return []
    inside = []
    for share in wishes.shares():
        disk = disk_of(share.path, server.disks)
        if disk is not None and disk.mount not in (wishes.storage_root, share.path):
            inside.append(share.path)
    if not inside:
        return []
    return [
        Problem(
            kind="shared_file_system",
            host=server.name,
            what=own_file_system.exposure(server.name, wishes.storage_root, inside),
            todo=own_file_system.todo(wishes.storage_root),
            fatal=wishes.require_own_file_system,
        )
    ]


def of_services(members: Sequence[Host], services: Mapping[str, Sequence[ServiceRole]]) -> list[Problem]:
    """Services where they cannot run or will run slowly, and cards nobody uses."""
    problems = []
    for host in members:
        compute = [role for role in services[host.name] if role != "backend"]
        if not runs_services(host):
            problems.append(
                Problem(
                    kind="arch",
                    host=host.name,
                    what=f"There is no Ollama and no PyTorch for {host.arch}, which {host.name} has.",
                    todo=f"Take {' and '.join(compute)} from it." if compute else "Nothing: it stores and shares only.",
                    fatal=bool(compute),
                )
            )
        problems += [
            Problem(
                kind="gpu",
                host=host.name,
                what=f"{gpu.name} in {host.name} cannot be used: {gpu.why}",
                todo="Install its vendor's driver and run again, if the services are to use it.",
                fatal=False,
            )
            for gpu in host.gpus
            if not gpu.usable
        ]
    backends = sorted(name for name, roles in services.items() if "backend" in roles)
    if len(backends) > 1:
        problems.append(
            Problem(
                kind="many_backends",
                host=backends[-1],
                what=f"The backend was chosen for {', '.join(backends)}; a studio has one, which owns the database.",
                todo="Choose one of them.",
            )
        )
    return problems


def _unfit(host: Host) -> Problem | None:
    if host.service_manager and host.service_manager != "systemd":
        return Problem(
            kind="no_systemd",
            host=host.name,
            what=f"{_where(host)} is run by {host.service_manager}; services and mounts of a studio are systemd units.",
            todo="Leave it out, or install a system with systemd.",
            fatal=host.named,
        )
    oldest = SUPPORTED_OS.get(host.os)
    if host.os and (oldest is None or _version(host.os_version, oldest) < oldest):
        known = ", ".join(f"{name} {'.'.join(f'{n:02}' for n in version)}" for name, version in SUPPORTED_OS.items())
        return Problem(
            kind="unsupported_os",
            host=host.name,
            what=f"{_where(host)} has {host.os} {host.os_version}, which the roles are not written for.",
            todo=f"Leave it out, or install one of these or newer: {known}.",
            fatal=host.named,
        )
    return None


def _version(text: str, oldest: tuple[int, ...]) -> tuple[int, ...]:
    """The version as numbers; one that has none (Debian's testing) counts as new."""
    numbers = [part for part in text.split(".") if part.isdigit()]
    return tuple(int(part) for part in numbers) or oldest


def _address(host: Host) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.address.partition("%")[0])
    except ValueError:
        return None


def _where(host: Host) -> str:
    return host.name if host.name == host.address else f"{host.name} ({host.address})"
