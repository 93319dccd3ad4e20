# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check what a studio chooses about NFS over TLS, ``noslop_nfs_transport``. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import enumerate_words

VARIABLE = "noslop_nfs_transport"


@dataclass(frozen=True)
class TransportSettings:
    """The choices of a studio about NFS over TLS. ``addresses`` are those of its hosts, by name."""

    transport: str
    provider: str
    addresses: Mapping[str, str] = field(default_factory=dict)
    insecure_clients: Sequence[str] = ()


def find_problems(settings: TransportSettings) -> list[str]:
    """Return a sentence for each problem with the settings; none for NFS without TLS."""
    transport = settings.transport
    if transport not in studio.NFS_TRANSPORTS:
        return [f"{VARIABLE} is {transport!r}, and not {enumerate_words(studio.NFS_TRANSPORTS)}."]
    if transport == "plain":
        return []
    problems = []
    if settings.provider != "nfs":
        problems.append(
            f"{VARIABLE} is {transport}, and noslop_storage_provider is {settings.provider}: NoSlop exports and mounts "
            "nothing there."
        )
    # The client sends the address as the server's name (SNI), and GnuTLS accepts letters, digits, dots and hyphens.
    wrong = [f"{host} ({address})" for host, address in settings.addresses.items() if ":" in address]
    if wrong:
        problems.append(
            f"{enumerate_words(wrong)} are addressed by IPv6, which the TLS handshake of NFS (tlshd) refuses as a name "
            "of the server."
        )
    if settings.insecure_clients:
        problems.append(
            f"nfs_server_insecure_clients has {enumerate_words(settings.insecure_clients)}, and macOS has no NFS over "
            "TLS."
        )
    return problems
