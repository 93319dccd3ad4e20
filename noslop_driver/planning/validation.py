# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a plan: return problems that prevent its deployment, and notes, each with the next step. Pure."""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Mapping, Sequence

from ansible_collections.noslop.studio.plugins.module_utils.share import own_file_system

from noslop_driver.models import Host, Problem, ServiceRole, StudioSettings
from noslop_driver.planning.scoring import GB, FreeSpace, find_disk, find_largest_disk, format_gb

SUPPORTED_OS = {"Debian": (12,), "Ubuntu": (22, 4)}
"""The oldest version of each distribution that the roles support."""
SERVICE_ARCHES = ("x86_64", "amd64", "aarch64", "arm64")
"""The architectures of Ollama's releases and PyTorch's wheels."""
_SYSTEM_DIRECTORIES = """
/ /bin /boot /dev /etc /home /lib /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp
/usr /usr/bin /usr/lib /usr/local /usr/sbin /usr/share /var /var/cache /var/lib /var/log /var/spool /var/tmp
"""
"""Directories that other programs use: changing the owner of one would break them."""


def can_run_services(host: Host) -> bool:
    """Return whether there are Ollama and PyTorch for the host's architecture; an unknown one counts as supported."""
    return not host.arch or host.arch in SERVICE_ARCHES


def split_unfit_hosts(hosts: Sequence[Host]) -> tuple[list[Host], list[Problem]]:
    """Return the hosts that can be members, and a problem for each of the others."""
    fit, problems = [], []
    for host in hosts:
        problem = _find_exclusion(host)
        if problem is None:
            fit.append(host)
        else:
            problems.append(problem)
    return fit, problems


def report_no_hosts() -> Problem:
    """Return the problem that a plan has no host."""
    return Problem(
        kind="no_hosts",
        what="There is no host to make a studio of.",
        todo="Name machines (--host) or a network (--network), or --local for this computer alone.",
    )


def report_single_host(host: Host) -> Problem:
    """Return the note that a single host keeps its storage local, although the provider is `nfs`."""
    return Problem(
        kind="one_host",
        host=host.name,
        what="There is only one host, so its directories stay local, without NFS.",
        todo="Nothing, if one machine is enough. Add more hosts at any time and deploy again.",
        fatal=False,
    )


def report_same_machine(kept: Host, dropped: Host) -> Problem:
    """Return the note that two names are one machine."""
    return Problem(
        kind="same_machine",
        host=dropped.name,
        what=f"{_format_name(dropped)} and {_format_name(kept)} are one machine; only {kept.name} is planned.",
        todo=f"Nothing, or name the address you prefer (--host {dropped.address}).",
        fatal=False,
    )


def report_cloned_machine(one: Host, other: Host) -> Problem:
    """Return the note that two machines have the same machine-id."""
    return Problem(
        kind="cloned_machine_id",
        host=other.name,
        what=f"{_format_name(other)} has the same machine-id as {_format_name(one)}, as copies of one image do.",
        todo=f"If they are one machine, name only one of them. If not, give {other.name} an id of its own, as root "
        "there: `rm /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup; reboot`.",
        fatal=False,
    )


def check_settings(settings: StudioSettings, members: Sequence[Host]) -> list[Problem]:
    """Check the settings: unknown hosts, unsuitable directories, and local storage for several hosts."""
    names = [host.name for host in members]
    problems = [
        Problem(
            kind="unknown_host",
            host=name,
            what=f"{name} was chosen for a part of the studio, but is none of its hosts ({', '.join(names)}).",
            todo="Check the spelling; if it is right, see above why this host was left out.",
        )
        for name in sorted({settings.server, *settings.roles} - {None, *names}, key=str)
    ]
    if settings.storage_provider == "local" and len(members) > 1:
        problems.append(
            Problem(
                kind="local_with_many",
                what=f"Local storage is for one machine, and there are {len(members)}, which would share nothing.",
                todo="Use the storage provider nfs (or existing, for a file system that all of them mount already), "
                "or name one host.",
            )
        )
    shares = settings.shares()
    directories = {"the storage root": settings.storage_root, **{share.name: share.path for share in shares}}
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


def check_addresses(members: Sequence[Host]) -> list[Problem]:
    """Check the addresses of the members for each other. A single host needs none."""
    if len(members) == 1:
        return []
    problems = []
    addresses = {host.name: _parse_address(host) for host in members}
    for host in members:
        address = addresses[host.name]
        if address is None:
            what, todo = "a name, and exports and firewall rules are written with addresses", "Name its address."
        elif address.is_loopback:
            what, todo = "an address that other hosts cannot reach", "Name its address in the studio's network."
        elif address.is_link_local:
            what, todo = "an address that is valid on one link only", "Name its IPv4 or its routable address."
        elif host.addresses and host.address not in host.addresses:
            problems.append(
                Problem(
                    kind="translated_address",
                    host=host.name,
                    what=f"{host.name} was reached at {host.address}, but its own addresses are "
                    f"{', '.join(host.addresses)}: something translates in between.",
                    todo="If the other hosts reach it at another address, set noslop_address for it in the inventory.",
                    fatal=False,
                )
            )
            continue
        else:
            continue
        problems.append(Problem(kind="address", host=host.name, what=f"{_format_name(host)} has {what}.", todo=todo))
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
        ipv6_hosts = sorted(name for name, address in addresses.items() if address and address.version == 6)
        problems.append(
            Problem(
                kind="mixed_addresses",
                host=ipv6_hosts[0],
                what=f"{', '.join(ipv6_hosts)} would be in the studio by IPv6 and the others by IPv4: they could not "
                "connect to each other.",
                todo="Name the IPv4 address of each of these.",
            )
        )
    return problems


def check_free_space(
    server: Host, free_space: FreeSpace, members: Sequence[Host], settings: StudioSettings
) -> list[Problem]:
    """Check the free space of the storage server, which may be unknown."""
    min_free = format_gb(settings.min_free_gb * GB)
    if free_space.enough == "unknown":
        return [
            Problem(
                kind="room_unknown",
                host=server.name,
                what=f"The free space on {server.name} for the shares in {settings.storage_root} is unknown.",
                todo=f"Nothing: it is measured before anything is stored, and less than {min_free} is refused then.",
                fatal=False,
            )
        ]
    disk_with_least = free_space.least_free
    if free_space.enough == "yes" or disk_with_least is None:
        return []
    others = [
        f"{host.name} has {format_gb(disk.free_bytes)} on {disk.mount}"
        for host in members
        if (disk := find_largest_disk(host)) and disk.free_bytes >= settings.min_free_gb * GB
    ]
    hint = f" There is room: {'; '.join(others)}." if others else ""
    chosen = server.name == settings.server
    reason = f"{server.name} was chosen as storage server, but" if chosen else f"No host has {min_free} free:"
    return [
        Problem(
            kind="no_room",
            host=server.name,
            what=f"{reason} {server.name} has {format_gb(disk_with_least.free_bytes)} on {disk_with_least.mount}, "
            f"where shares would lie, and {min_free} are needed.",
            todo=f"Make room, put the storage root or single directories on a larger disk, "
            f"{'choose another host, ' if chosen and len(members) > 1 else ''}or lower noslop_min_free_gb.{hint}",
        )
    ]


def check_file_systems(server: Host, settings: StudioSettings) -> list[Problem]:
    """Check for shares on a file system with other data, which members can read with forged file handles."""
    if settings.storage_provider != "nfs":
        return []
    inside = []
    for share in settings.shares():
        disk = find_disk(share.path, server.disks)
        if disk is not None and disk.mount not in (settings.storage_root, share.path):
            inside.append(share.path)
    if not inside:
        return []
    return [
        Problem(
            kind="shared_file_system",
            host=server.name,
            what=own_file_system.exposure(server.name, settings.storage_root, inside),
            todo=own_file_system.todo(settings.storage_root),
            fatal=settings.require_own_file_system,
        )
    ]


def check_services(members: Sequence[Host], services: Mapping[str, Sequence[ServiceRole]]) -> list[Problem]:
    """Check for services on unsupported architectures, unusable cards, and more than one backend."""
    problems = []
    for host in members:
        compute = [role for role in services[host.name] if role != "backend"]
        if not can_run_services(host):
            problems.append(
                Problem(
                    kind="arch",
                    host=host.name,
                    what=f"There is no Ollama and no PyTorch for {host.arch}, which {host.name} has.",
                    todo=f"Remove {' and '.join(compute)} from it."
                    if compute
                    else "Nothing: it stores and shares only.",
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


def _find_exclusion(host: Host) -> Problem | None:
    if host.service_manager and host.service_manager != "systemd":
        return Problem(
            kind="no_systemd",
            host=host.name,
            what=f"{_format_name(host)} is run by {host.service_manager}; services and mounts of a studio are systemd "
            "units.",
            todo="Leave it out, or install a system with systemd.",
            fatal=host.named,
        )
    oldest = SUPPORTED_OS.get(host.os)
    if host.os and (oldest is None or _parse_version(host.os_version, oldest) < oldest):
        supported = ", ".join(
            f"{name} {'.'.join(f'{n:02}' for n in version)}" for name, version in SUPPORTED_OS.items()
        )
        return Problem(
            kind="unsupported_os",
            host=host.name,
            what=f"{_format_name(host)} has {host.os} {host.os_version}, which the roles are not written for.",
            todo=f"Leave it out, or install one of these or newer: {supported}.",
            fatal=host.named,
        )
    return None


def _parse_version(text: str, oldest: tuple[int, ...]) -> tuple[int, ...]:
    """Return a version as numbers; one without any (Debian's testing) counts as supported."""
    numbers = [part for part in text.split(".") if part.isdigit()]
    return tuple(int(part) for part in numbers) or oldest


def _parse_address(host: Host) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.address.partition("%")[0])
    except ValueError:
        return None


def _format_name(host: Host) -> str:
    return host.name if host.name == host.address else f"{host.name} ({host.address})"
