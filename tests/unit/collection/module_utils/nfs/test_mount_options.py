# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which differences of an NFS mount need a new mount, and which are notes."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo
from ansible_collections.noslop.studio.plugins.module_utils.nfs import helper_daemons, mount_options

SOURCE = "10.77.42.11:/mnt/noslop/ollama/models"
MODELS = (
    "vers=4.2,hard,nconnect=4,rsize=1048576,wsize=1048576,nosuid,nodev,acregmin=60,acregmax=600,acdirmin=1,acdirmax=3"
)
WORK = "vers=4.2,hard,nconnect=4,rsize=1048576,wsize=1048576,nosuid,nodev"
# As Linux 6.1 writes it; the server has 1.5 GB of memory.
LINE = (
    "217 163 0:48 / /mnt/noslop/ollama/models rw,nosuid,nodev,relatime shared:106 - nfs4 "
    f"{SOURCE} rw,vers=4.2,rsize=262144,wsize=262144,namlen=255,acregmin=60,acregmax=600,acdirmin=1,acdirmax=3,hard,"
    "proto=tcp,nconnect=4,timeo=600,retrans=2,sec=sys,clientaddr=10.77.42.12,local_lock=none,addr=10.77.42.11"
)
AUTOFS = "163 26 0:35 / /mnt/noslop/ollama/models rw,relatime shared:64 - autofs systemd-1 rw,fd=37,pgrp=1,timeout=0"


def mount(line: str = LINE) -> mountinfo.Mount:
    (parsed,) = mountinfo.parse_mountinfo(line)
    return parsed


def test_right_mount_stays() -> None:
    assert mount_options.find_reasons_to_remount(mount(), SOURCE, MODELS) == []


def test_hard_is_the_default() -> None:
    assert mount_options.find_reasons_to_remount(mount(), SOURCE, MODELS.replace("hard,", "")) == []


def test_options_depend_on_the_kind_and_the_writers_of_a_share() -> None:
    nodes = {"name": "comfyui_custom_nodes", "kind": "models", "writers": "server"}
    projects = {"name": "projects", "kind": "work", "writers": "members"}

    assert mount_options.compose(nodes, "hard", "acdirmax=5") == "hard,acdirmax=5,ro"
    assert mount_options.compose(projects, "hard", "acdirmax=5") == "hard,noexec"


@pytest.mark.parametrize(
    ("transport", "options"),
    [("plain", "hard,noexec"), ("tls", "hard,noexec,xprtsec=tls"), ("mtls", "hard,noexec,xprtsec=mtls")],
)
def test_transport_is_one_of_the_options(transport: str, options: str) -> None:
    projects = {"name": "projects", "kind": "work", "writers": "members"}

    assert mount_options.compose(projects, "hard", "", transport) == options


@pytest.mark.parametrize(
    ("shown", "requested", "reasons"),
    [
        ("", "", []),
        ("", ",xprtsec=mtls", ["xprtsec is none, not mtls"]),
        (",xprtsec=mtls", "", ["xprtsec is mtls, not none"]),
        (",xprtsec=tls", ",xprtsec=mtls", ["xprtsec is tls, not mtls"]),
        (",xprtsec=mtls", ",xprtsec=mtls", []),
    ],
)
def test_mount_with_another_transport_needs_a_new_one(shown: str, requested: str, reasons: list[str]) -> None:
    present = mount(LINE.replace(",sec=sys", f",sec=sys{shown}"))

    assert mount_options.find_reasons_to_remount(present, SOURCE, MODELS + requested) == reasons


@pytest.mark.parametrize(("options", "seconds"), [("acdirmax=5", 5), ("hard", 60)])
def test_time_of_cached_listings_follows_the_options(options: str, seconds: int) -> None:
    assert mount_options.directory_cache_s(options) == seconds


def test_smaller_block_size_is_noted() -> None:
    notes = mount_options.find_notes(mount(), MODELS)

    assert [note.split(":")[0] for note in notes] == [
        "rsize is 262144 where 1048576 was asked",
        "wsize is 262144 where 1048576 was asked",
    ]


def test_fewer_connections_are_noted() -> None:
    one = mount(LINE.replace("nconnect=4,", ""))

    assert mount_options.find_reasons_to_remount(one, SOURCE, MODELS) == []
    assert any("nconnect is 1 where 4 was asked" in note for note in mount_options.find_notes(one, MODELS))


@pytest.mark.parametrize(
    ("line", "options", "message"),
    [
        (LINE, WORK, "acdirmax is 3, not 60"),
        (LINE.replace(",acdirmax=3", ""), MODELS, "acdirmax is 60, not 3"),
        (LINE.replace("hard", "soft"), MODELS, "hard is off"),
        (LINE.replace("vers=4.2", "vers=4.1"), MODELS, "vers is 4.1, not 4.2"),
        (LINE.replace("nosuid,", ""), MODELS, "nosuid is off"),
        (LINE.replace("hard,", "hard,nocto,"), MODELS, "nocto is on"),
        (LINE, f"{MODELS},noexec".replace("hard", "softerr"), "hard is on"),
        (LINE, f"{MODELS},noexec", "noexec is off"),
        (LINE, f"{MODELS},ro", "ro is off"),
        (LINE.replace("models rw,nosuid", "models ro,nosuid"), MODELS, "ro is on"),
        (LINE, MODELS.replace("rsize=1048576", "rsize=65536"), "rsize is 262144, not 65536"),
        (LINE.replace(SOURCE, "10.77.42.99:/mnt/noslop/ollama/models"), MODELS, "comes from 10.77.42.99:"),
        (LINE.replace("nfs4", "nfs"), MODELS, "it is nfs, not nfs4"),
    ],
)
def test_wrong_option_is_a_reason_to_remount(line: str, options: str, message: str) -> None:
    assert any(message in reason for reason in mount_options.find_reasons_to_remount(mount(line), SOURCE, options))


def test_automount_without_mount_is_no_mount() -> None:
    waiting = mountinfo.parse_mountinfo(AUTOFS)
    mounted = mountinfo.parse_mountinfo(f"{AUTOFS}\n{LINE}")
    path = "/mnt/noslop/ollama/models"

    assert mount_options.effective_mount(waiting, path) is None
    assert mount_options.waits_for_access(waiting, path)
    assert mount_options.effective_mount(mounted, path) == mount()
    assert mount_options.waits_for_access(mounted, path)
    assert not mount_options.waits_for_access([mount()], path)


@pytest.mark.parametrize("server", ["10.77.42.11", "fd00::11"])
def test_server_is_parsed_from_its_source(server: str) -> None:
    assert mount_options.server_of(mount_options.source_of(server, "/mnt/x:/y")) == server


def test_ipv6_server_has_brackets() -> None:
    assert mount_options.source_of("fd00::11", "/mnt/x") == "[fd00::11]:/mnt/x"


def test_foreign_nfs3_mount_needs_the_helpers() -> None:
    v3 = mount(LINE.replace("- nfs4", "- nfs").replace("/mnt/noslop/ollama/models rw,nosuid", "/mnt/nas rw,nosuid"))
    v4 = mount()

    (problem,) = helper_daemons.find_dependents([v3, v4], [])

    assert "/mnt/nas" in problem
    assert "nfs_client_quiet_units" in problem
    assert helper_daemons.find_dependents([v3], [v3.point]) == []
