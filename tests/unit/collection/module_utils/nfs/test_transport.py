# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which clients an export accepts, with TLS and without, and which while they change."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.nfs import transport

SHARE = "/mnt/noslop/projects"


def exports(option: str) -> dict[str, dict[str, frozenset[str]]]:
    return {SHARE: {"10.0.0.2": frozenset({"rw", option} - {""})}}


@pytest.mark.parametrize(
    ("options", "accepted"),
    [
        ([], ("none", "tls", "mtls")),
        (["rw", "xprtsec=mtls"], ("mtls",)),
        (["xprtsec=mtls:tls"], ("tls", "mtls")),
        (["xprtsec=none"], ("none",)),
    ],
)
def test_accepted_clients_are_read_from_options(options: list[str], accepted: tuple[str, ...]) -> None:
    assert transport.find_clients(options) == accepted


def test_order_in_an_option_does_not_matter() -> None:
    assert transport.normalize(["rw", "xprtsec=mtls:tls"]) == transport.normalize(["xprtsec=tls:mtls", "rw"])


def test_missing_option_equals_all_clients() -> None:
    assert transport.normalize(["rw"]) == transport.normalize(["rw", "xprtsec=none:tls:mtls"])


@pytest.mark.parametrize(
    ("now", "wanted", "meanwhile"),
    [
        ("", "mtls", ["none", "tls", "mtls"]),
        ("xprtsec=mtls", "plain", ["none", "tls", "mtls"]),
        ("xprtsec=mtls", "mtls", ["mtls"]),
        ("xprtsec=mtls", "tls", ["tls", "mtls"]),
        ("xprtsec=tls:mtls", "mtls", ["tls", "mtls"]),
        ("", "plain", ["none", "tls", "mtls"]),
    ],
)
def test_clients_of_both_transports_are_accepted_during_a_change(now: str, wanted: str, meanwhile: list[str]) -> None:
    assert transport.join_clients(studio.NFS_TRANSPORTS[wanted], [SHARE], exports(now)) == meanwhile


def test_new_server_accepts_the_chosen_transport_at_once() -> None:
    assert transport.join_clients(studio.NFS_TRANSPORTS["mtls"], [SHARE], {}) == ["mtls"]


def test_exports_of_the_administrator_do_not_count() -> None:
    assert transport.join_clients(("mtls",), [SHARE], {"/srv/other": {"*": frozenset({"rw"})}}) == ["mtls"]
