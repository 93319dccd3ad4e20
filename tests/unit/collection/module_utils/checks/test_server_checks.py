# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the checks of a storage server against output of exportfs, nfsd and the kernel's socket tables."""

from __future__ import annotations

import dataclasses
import os
import socket

import pytest
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import server_checks
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, Checks, is_note
from ansible_collections.noslop.studio.plugins.module_utils.checks.storage_checks import Storage
from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo, sockets
from ansible_collections.noslop.studio.plugins.module_utils.host.sockets import Program
from ansible_collections.noslop.studio.plugins.module_utils.nfs import exports

ACCOUNTS = {account.name: account for account in studio.accounts({})}
STORAGE = Storage("nfs", True, "10.77.42.11", "atelier", ACCOUNTS, 50, 15360, "/mnt/noslop")
SHARES = [
    {"name": "projects", "path": "/mnt/noslop/projects"},
    {"name": "media_cache", "path": "/mnt/noslop/media_cache"},
]
MEMBERS = ["10.77.42.12", "10.77.42.13"]
OPTIONS = "sync,wdelay,hide,no_subtree_check,anonuid=2600,anongid=2600,sec=sys,rw,secure,root_squash,all_squash"
OWN_DISKS = [mountinfo.Mount("/", "ext4", "/dev/sda", "8:1")] + [
    mountinfo.Mount(share["path"], "xfs", f"/dev/sd{number}", f"8:{number}") for number, share in enumerate(SHARES, 16)
]
GOOD = "".join(f"{share['path']}  {member}({OPTIONS})\n" for share in SHARES for member in MEMBERS)


@pytest.fixture
def checks() -> Checks:
    return Checks("server")


def exports_checks(checks: Checks, shown: str, clients: list[str] | None = None) -> list[Check]:
    server_checks.judge_exports(
        checks, STORAGE, SHARES, clients or MEMBERS, exports.parse_exportfs(shown), table=OWN_DISKS
    )
    return [check for check in checks.list if not check["ok"]]


def test_exports_to_members_only_pass(checks: Checks) -> None:
    assert exports_checks(checks, GOOD) == []


@pytest.mark.parametrize(
    ("transport", "option", "wrong"),
    [
        ("plain", "", ""),
        ("mtls", ",xprtsec=mtls", ""),
        ("mtls", "", "without xprtsec=mtls"),
        ("mtls", ",xprtsec=tls:mtls", "without xprtsec=mtls"),
        ("tls", ",xprtsec=tls:mtls", ""),
        ("tls", "", "without xprtsec=tls:mtls"),
    ],
)
def test_export_that_accepts_clients_with_another_transport_fails(transport: str, option: str, wrong: str) -> None:
    listed = Checks("server")
    shown = exports.parse_exportfs(GOOD.replace("all_squash)", f"all_squash{option})"))
    storage = dataclasses.replace(STORAGE, transport=transport)

    server_checks.judge_exports(listed, storage, SHARES, MEMBERS, shown, table=OWN_DISKS)

    problems = [one["seen"] for one in listed.list if not one["ok"]]
    assert len(problems) == (len(SHARES) if wrong else 0)
    assert all(problem.endswith(wrong) for problem in problems)


def test_network_of_one_address_equals_the_address(checks: Checks) -> None:
    assert exports_checks(checks, GOOD.replace("10.77.42.12(", "10.77.42.12/32(")) == []


def test_share_of_chosen_clients_goes_to_no_other_member_and_read_only_to_readers(checks: Checks) -> None:
    chosen = {"client_addresses": MEMBERS[:1], "read_only_addresses": MEMBERS[:1]}
    for shown, seen in {
        f"{SHARES[0]['path']}  {MEMBERS[0]}({OPTIONS.replace('rw,', 'ro,')})\n": "",
        f"{SHARES[0]['path']}  {MEMBERS[0]}({OPTIONS})\n": f"to {MEMBERS[0]} without ro",
        GOOD.replace("rw,", "ro,"): f"exported to {MEMBERS[1]}, which may not mount it; to {MEMBERS[1]} without rw",
    }.items():
        listed = Checks("server")
        server_checks.judge_exports(
            listed, STORAGE, [{**SHARES[0], **chosen}], MEMBERS, exports.parse_exportfs(shown), table=OWN_DISKS
        )
        assert [one["seen"] for one in listed.list if not one["ok"] and one["check"] == "server.exports"] == (
            [seen] if seen else []
        )


@pytest.mark.parametrize(
    ("shown", "seen"),
    [
        (GOOD + f"/mnt/noslop/projects  *({OPTIONS})\n", "exported to *, which is no member"),
        (GOOD + f"/mnt/noslop/projects  10.77.42.0/24({OPTIONS})\n", "exported to 10.77.42.0/24, which is no member"),
        (GOOD.replace("all_squash)", "no_all_squash)", 1), "to 10.77.42.12 without all_squash"),
        (GOOD.replace("sync", "async", 1), "to 10.77.42.12 without sync"),
        (GOOD.replace("anonuid=2600", "anonuid=65534", 1), "to 10.77.42.12 without anonuid=2600"),
        (GOOD.replace("rw,", "ro,", 1), "to 10.77.42.12 without rw"),
        (GOOD.partition("\n")[2], "not exported to 10.77.42.12"),
    ],
)
def test_wrong_export_fails(checks: Checks, shown: str, seen: str) -> None:
    (bad,) = exports_checks(checks, shown)

    assert (bad["check"], bad["share"], bad["seen"]) == ("server.exports", "projects", seen)


@pytest.mark.parametrize(
    "other",
    [
        f"/mnt  192.168.1.0/24({OPTIONS})\n",
        f"/  *({OPTIONS})\n",
        f"/mnt/noslop/projects/one  10.77.42.99({OPTIONS})\n",
        f"/mnt/noslop  10.77.42.12({OPTIONS.replace(',all_squash', ',no_all_squash')})\n",
    ],
)
def test_foreign_export_that_reaches_a_share_fails(checks: Checks, other: str) -> None:
    (bad,) = exports_checks(checks, GOOD + other)

    assert bad["check"] == "server.detours"
    assert other.split(maxsplit=1)[0] in bad["seen"]


def test_foreign_export_elsewhere_passes(checks: Checks) -> None:
    assert exports_checks(checks, GOOD + "/srv/video  *(ro,async)\n") == []


def test_each_export_squashes_to_the_account_of_its_share(checks: Checks) -> None:
    nodes = {"name": "nodes", "path": "/mnt/noslop/nodes", "owner": "noslop-nodes", "writers": "server"}
    right = OPTIONS.replace("2600", "2602").replace("rw,", "ro,").replace("no_subtree_check,", "")
    shown = "".join(f"{nodes['path']}  {member}({{}})\n" for member in MEMBERS)

    for options in (right, OPTIONS, right.replace("ro,", "rw,")):
        shown_with = exports.parse_exportfs(shown.replace("{}", options))
        server_checks.judge_exports(checks, STORAGE, [nodes], MEMBERS, shown_with, table=OWN_DISKS[:1])

    seen = [check["seen"] for check in checks.list if check["check"] == "server.exports"]
    assert seen[0] == "exported to 10.77.42.12, 10.77.42.13"
    assert "to 10.77.42.12 without anongid=2602, anonuid=2602, ro, subtree_check" in seen[1]
    assert "to 10.77.42.12 without ro" in seen[2]


def test_shares_among_other_files_are_noted_or_fail_when_required(checks: Checks) -> None:
    table = [
        mountinfo.Mount("/", "ext4", "/dev/sda", "8:1"),
        mountinfo.Mount("/mnt/noslop/projects", "xfs", "/dev/sdb", "8:16"),
    ]
    strict = dataclasses.replace(STORAGE, require_own_file_system=True)

    server_checks.judge_file_systems(checks, STORAGE, SHARES, table)
    server_checks.judge_file_systems(checks, strict, SHARES, table)
    server_checks.judge_file_systems(checks, strict, SHARES[:1], table)

    noted, failed, passed = checks.list
    assert is_note(noted)
    assert "/mnt/noslop lie on a file system of server that holds other things" in noted["seen"]
    assert not failed["ok"]
    assert "lvcreate" in failed["todo"]
    assert passed["ok"]


NFSD = {"threads": "16\n", "versions": "-2 -3 +4 +4.0 +4.1 +4.2\n", "portlist": "tcp 2049\ntcp 2049\n"}


@pytest.mark.parametrize(
    ("difference", "bad"),
    [
        ({}, set()),
        ({"threads": "8\n"}, {"server.threads"}),
        ({"threads": "0\n"}, {"server.threads"}),
        ({"versions": "-2 +3 +4 +4.1 +4.2\n"}, {"server.versions"}),
        ({"versions": "-2 -3 +4 +4.1 -4.2\n"}, {"server.versions"}),
        ({"portlist": "udp 2049\ntcp 2049\n"}, {"server.ports"}),
        ({"threads": "", "versions": "", "portlist": ""}, {"server.threads", "server.versions", "server.ports"}),
    ],
)
def test_running_server_is_checked(checks: Checks, difference: dict[str, str], bad: set[str]) -> None:
    server_checks.judge_nfsd(checks, {**NFSD, **difference}, 16)

    assert {check["check"] for check in checks.list if not check["ok"]} == bad


TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0801 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 14001 1 0000000000000000
   1: 0100007F:2CAA 00000000:0000 0A 00000000:00000000 00:00000000 00000000  2600        0 15002 1 0000000000000000
   2: 0B2A4D0A:0016 012A4D0A:D431 01 00000000:00000000 02:000A7C8E 00000000     0        0 16003 2 0000000000000000
   3: 00000000:8E2D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17004 1 0000000000000000
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
   0: 00000000000000000000000000000000:006F 00000000000000000000000000000000:0000 0A 0:0 00:0 0     0        0 18005 1
   1: 00000000000000000000000001000000:1FFC 00000000000000000000000000000000:0000 0A 0:0 00:0 0     0        0 19006 1
   2: 0000000000000000FFFF00000100007F:1FFC 00000000000000000000000000000000:0000 0A 0:0 00:0 0     0        0 19007 1
"""


def test_listeners_are_parsed_from_proc_net() -> None:
    four, six = sockets.parse_listeners("tcp", TCP), sockets.parse_listeners("tcp6", TCP6)

    assert [str(one) for one in four] == ["tcp 0.0.0.0:2049", "tcp 127.0.0.1:11434", "tcp 0.0.0.0:36397"]
    assert [str(one) for one in six] == ["tcp [::]:111", "tcp [::1]:8188", "tcp 127.0.0.1:8188"]
    assert [one.is_loopback for one in four + six] == [False, True, False, False, True, True]


def test_listening_nfs3_helpers_fail(checks: Checks) -> None:
    listeners = sockets.parse_listeners("tcp", TCP) + sockets.parse_listeners("tcp6", TCP6)

    server_checks.judge_listeners(
        checks, listeners, {"17004": Program(612, "rpc.mountd"), "18005": Program(1, "systemd")}
    )

    (check,) = checks.list
    assert check["seen"] == "rpc.mountd (pid 612) on tcp 0.0.0.0:36397, systemd (pid 1) on tcp [::]:111"
    assert not check["ok"]


def test_listening_nfs_server_passes(checks: Checks) -> None:
    listeners = [one for one in sockets.parse_listeners("tcp", TCP) if one.port != 0x8E2D]

    server_checks.judge_listeners(checks, listeners, {})

    assert checks.list[0]["ok"]


def test_without_a_firewall_services_listen_on_loopback_only(checks: Checks) -> None:
    listeners = sockets.parse_listeners("tcp", TCP) + sockets.parse_listeners("tcp6", TCP6)

    server_checks.judge_loopback(checks, listeners, [11434, 8188])
    server_checks.judge_loopback(checks, listeners, [11434, 2049])

    good, bad = checks.list
    assert good["ok"]
    assert (bad["ok"], bad["seen"]) == (False, "listening: tcp 0.0.0.0:2049")


def test_program_of_own_socket_is_this_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (own,) = [one for one in sockets.read_listeners() if one.port == port and one.protocol == "tcp"]

        assert own.is_loopback
        assert sockets.find_programs([own.inode])[own.inode].pid == os.getpid()
