# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a client's way to the storage server: that the server answers, and knows the address that it is asked from."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, enumerate_words
from ansible_collections.noslop.studio.plugins.module_utils.host.addresses import as_ip

#: How long the server may take to accept a connection before it counts as away.
CONNECT_S = 5.0


def find_error(server: str, port: int = studio.NFS_PORT) -> str:
    """Return why the storage server takes no connection from this host; empty where it does."""
    try:
        socket.create_connection((server, port), timeout=CONNECT_S).close()
    except OSError as error:
        return str(error)
    return ""


def read_source_address(server: str) -> str:
    """Return the address from which this host's packets go to a server; empty where there is no route. Sends none."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((server, studio.NFS_PORT))
        except OSError:
            return ""
        return as_ip(str(probe.getsockname()[0]).partition("%")[0])


def judge_connection(checks: Checks, server: str, error: str) -> None:
    """Check that the storage server takes connections.

    Args:
        checks: where the result goes.
        server: its address.
        error: what :func:`find_error` returned.
    """
    where = f"{server}:{studio.NFS_PORT}"
    checks.add(
        "storage.server",
        not error,
        seen=f"{where}: {error}" if error else f"{where} answers",
        expected=f"the storage server answers on {where}",
        todo=(
            "mend storage.address first, if that failed too; else switch the storage server on and run "
            "`systemctl status nfs-server` there"
        ),
    )


def judge_source_address(checks: Checks, own: str, source: str, clients: Sequence[str]) -> None:
    """Check that the server exports to the address that this host's packets come from.

    Args:
        checks: where the result goes.
        own: the address that the inventory has for this host.
        source: what :func:`read_source_address` returned; nothing is checked where it is empty.
        clients: the addresses to which the server exports.
    """
    if not source or not clients:
        return
    exported = [as_ip(client) or client for client in clients]
    passed = source in exported
    checks.add(
        "storage.address",
        passed,
        seen=f"packets to the storage server come from {source}"
        + ("" if passed else f", which it refuses: in the inventory {checks.host} is {own}"),
        expected=f"one of the addresses to which the shares are exported: {enumerate_words(exported)}",
        todo=(
            f"set ansible_host of {checks.host} (noslop_address where it is set) to {source} in the inventory, and run "
            "`noslop-driver deploy`, or `ansible-playbook -i INVENTORY noslop.studio.site`, for all hosts: exports, "
            f"firewall and services then name {source} in place of {own}. Or give {checks.host} the address {own} again"
        ),
    )
