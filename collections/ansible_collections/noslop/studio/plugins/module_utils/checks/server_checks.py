# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check what a storage server exports and listens on. Pure: judges text that the module read."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import host_rules
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, enumerate_words
from ansible_collections.noslop.studio.plugins.module_utils.checks.storage_checks import Storage, rerun_step
from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo
from ansible_collections.noslop.studio.plugins.module_utils.host.addresses import as_ip
from ansible_collections.noslop.studio.plugins.module_utils.host.sockets import KERNEL, Listener, Program
from ansible_collections.noslop.studio.plugins.module_utils.nfs import transport
from ansible_collections.noslop.studio.plugins.module_utils.nfs.exports import Exports
from ansible_collections.noslop.studio.plugins.module_utils.share import own_file_system

NFS_PORT = studio.NFS_PORT
RPCBIND_PORT = 111
#: NFSv3's helpers, which an NFSv4 server runs without.
OLD_HELPERS = ("rpcbind", "rpc.mountd", "rpc.statd")


def normalize_client(client: str) -> str:
    """Return a client as an address where it is exactly one, else as a network or as it was written."""
    try:
        network = ipaddress.ip_network(client, strict=False)
    except ValueError:
        return client
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def judge_exports(
    checks: Checks,
    storage: Storage,
    shares: Sequence[Mapping[str, Any]],
    addresses: Iterable[str],
    exports: Exports,
    *,
    table: list[mountinfo.Mount],
) -> None:
    """Check that each share is exported to its clients only, and that no other export reaches it."""
    members = {as_ip(address) or address for address in addresses}
    canonical_exports = {
        path: {normalize_client(client): options for client, options in shown.items()}
        for path, shown in exports.items()
    }
    for share in shares:
        clients = members & set(_canonical(share.get("client_addresses", members)))
        read_only = set(_canonical(share.get("read_only_addresses", ())))
        shown = canonical_exports.get(share["path"], {})
        wrong = [f"not exported to {client}" for client in sorted(clients - set(shown))]
        for client, options in shown.items():
            if client not in clients:
                wrong.append(
                    f"exported to {client}, which {'may not mount it' if client in members else 'is no member'}"
                )
            reading = share.get("writers") == "server" or client in read_only
            wrong += _find_client_problems(client, options, _required_options(storage, share, table, read_only=reading))
        required = _required_options(storage, share, table, read_only=share.get("writers") == "server")
        checks.add(
            "server.exports",
            not wrong,
            share=share["name"],
            seen="; ".join(wrong) or f"exported to {enumerate_words(sorted(clients))}",
            expected=(
                f"{share['path']} exported to {enumerate_words(sorted(clients), 'no client')} only, "
                f"with {', '.join(required)}"
            ),
            todo=f"look into /etc/exports and /etc/exports.d for {share['path']}, then {rerun_step(checks.host)}",
        )
    _judge_foreign_exports(checks, [share["path"] for share in shares], members, canonical_exports)


def _canonical(addresses: Iterable[str]) -> list[str]:
    return [as_ip(address) or address for address in addresses]


def _required_options(
    storage: Storage, share: Mapping[str, Any], table: list[mountinfo.Mount], *, read_only: bool
) -> list[str]:
    """Return the options that an export of a share must have.

    Where a share lies among other files, the kernel has to refuse forged handles (exports(5), ``subtree_check``).
    """
    owner = storage.owner(share)
    mode = "ro" if read_only else "rw"
    alone = own_file_system.has_own(table, share["path"], share["path"])
    return [
        mode, "sync", "all_squash", f"anonuid={owner.uid}", f"anongid={owner.gid}",
        *([] if alone else ["subtree_check"]),
        *([] if storage.transport == "plain" else [transport.format_option(studio.NFS_TRANSPORTS[storage.transport])]),
    ]  # fmt: skip


def _find_client_problems(client: str, has: frozenset[str], required: Iterable[str]) -> list[str]:
    lacking = sorted(set(required) - has)
    return [f"to {client} without {enumerate_words(lacking)}"] if lacking else []


def _judge_foreign_exports(checks: Checks, paths: list[str], clients: set[str], exports: Exports) -> None:
    foreign_exports = [
        f"{other} to {client}"
        for other, shown in exports.items()
        if other not in paths
        and any(mountinfo.is_below(path, other) or mountinfo.is_below(other, path) for path in paths)
        for client, options in shown.items()
        if client not in clients or "all_squash" not in options
    ]
    checks.add(
        "server.detours",
        not foreign_exports,
        seen=f"exported besides: {'; '.join(foreign_exports)}"
        if foreign_exports
        else "no other export leads to a share",
        expected="no export above or below a share that goes to others, or as another account",
        todo=(
            f"take it out of /etc/exports or /etc/exports.d on {checks.host} and run `exportfs -ra`, or move the "
            "shares elsewhere"
        ),
    )


def judge_file_systems(
    checks: Checks, storage: Storage, shares: Sequence[Mapping[str, str]], table: list[mountinfo.Mount]
) -> None:
    """Check which exports lie among other files: forged file handles lead out of those (exports(5))."""
    inside = [share["path"] for share in shares if not own_file_system.has_own(table, storage.root, share["path"])]
    host_rules.judge_own_file_systems(
        checks, storage.root, inside, required=storage.require_own_file_system, check="server.file_systems"
    )


def judge_nfsd(checks: Checks, nfsd: Mapping[str, str], least_threads: int) -> None:
    """Check that the server runs, offers NFSv4 only, on its own port, with enough threads.

    Args:
        checks: where the results go.
        nfsd: the texts of ``threads``, ``versions`` and ``portlist`` below ``/proc/fs/nfsd``; empty where absent.
        least_threads: how many threads there should be.
    """
    threads = int(nfsd["threads"]) if nfsd["threads"].strip().isdigit() else 0
    checks.add(
        "server.threads",
        threads >= least_threads,
        seen=f"{threads} threads" if threads else "no NFS server runs",
        expected=f"at least {least_threads} threads of nfsd",
        todo=f"run `systemctl status nfs-server` on {checks.host}; then {rerun_step(checks.host)}",
    )
    versions = nfsd["versions"].split()
    spoken = [word[1:] for word in versions if word.startswith("+")]
    old = [version for version in spoken if not version.startswith("4")]
    checks.add(
        "server.versions",
        "4.2" in spoken and not old,
        seen=f"speaks {enumerate_words(spoken)}",
        expected="4.2, and neither 2 nor 3",
        todo=f"{rerun_step(checks.host)}, then run `systemctl restart nfs-server` there: only that changes versions",
    )
    ports = sorted(set(nfsd["portlist"].strip().splitlines()))
    checks.add(
        "server.ports",
        ports == [f"tcp {NFS_PORT}"],
        seen=enumerate_words(ports, "no port"),
        expected=f"tcp {NFS_PORT} alone",
        todo=(
            f"look for port and udp in /etc/nfs.conf and /etc/nfs.conf.d on {checks.host}; "
            f"then {rerun_step(checks.host)}"
        ),
    )


def judge_listeners(
    checks: Checks, listeners: Iterable[Listener], programs: Mapping[str, Program], *, client: bool = False
) -> None:
    """Check that no helper of NFSv3 can be reached from other hosts, on the server or on a client."""
    reachable = sorted(
        {
            f"{programs.get(one.inode, KERNEL)} on {one}"
            for one in listeners
            if not one.is_loopback and (one.port == RPCBIND_PORT or programs.get(one.inode, KERNEL).name in OLD_HELPERS)
        }
    )
    checks.add(
        "storage.listening" if client else "server.listening",
        not reachable,
        seen=enumerate_words(reachable, "nothing of NFS" if client else f"nothing of NFS but port {NFS_PORT}"),
        expected="neither rpcbind nor mountd nor statd listens",
        todo=f"{rerun_step(checks.host)}, which stops them",
    )


def judge_loopback(checks: Checks, listeners: Iterable[Listener], ports: Iterable[int]) -> None:
    """Check that services listen on loopback only, which is required where the studio's firewall is off."""
    service_ports = set(ports)
    reachable = sorted(
        {str(one) for one in listeners if one.port in service_ports and one.protocol == "tcp" and not one.is_loopback}
    )
    checks.add(
        "firewall.loopback",
        not reachable,
        seen=f"listening: {enumerate_words(reachable, 'loopback only')}",
        expected="loopback only, because noslop_firewall_enabled is false",
        todo=f"set noslop_firewall_enabled to true, or run the services playbook again for {checks.host}",
    )
