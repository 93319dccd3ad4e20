# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which choices about NFS over TLS are refused, and what the message says."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.transport import TransportSettings, find_problems

ADDRESSES = {"server": "10.77.42.11", "worker1": "10.77.42.12"}


@pytest.mark.parametrize("transport", ["plain", "tls", "mtls"])
def test_each_transport_can_be_chosen(transport: str) -> None:
    assert find_problems(TransportSettings(transport, "nfs", ADDRESSES)) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (TransportSettings("ssl", "nfs", ADDRESSES), "'ssl', and not plain, tls, mtls"),
        (TransportSettings("mtls", "existing", ADDRESSES), "noslop_storage_provider is existing"),
        (TransportSettings("tls", "local", ADDRESSES), "noslop_storage_provider is local"),
        (TransportSettings("mtls", "nfs", {**ADDRESSES, "worker2": "fd00::3"}), "worker2 (fd00::3)"),
        (
            TransportSettings("mtls", "nfs", ADDRESSES, ["192.168.1.7"]),
            "has 192.168.1.7, and macOS has no NFS over TLS",
        ),
    ],
)
def test_unusable_choice_is_named(settings: TransportSettings, words: str) -> None:
    (problem,) = find_problems(settings)

    assert words in problem


def test_without_tls_macs_and_ipv6_are_no_problem() -> None:
    assert find_problems(TransportSettings("plain", "nfs", {"server": "fd00::1"}, ["192.168.1.7"])) == []
