# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the checks of a share on a host: each fault fails one check, which contains the next step."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import host_rules, storage_checks
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, Checks, is_note
from ansible_collections.noslop.studio.plugins.module_utils.checks.storage_checks import Storage
from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Unit

CLIENT = Storage(
    provider="nfs",
    server=False,
    server_address="10.77.42.11",
    studio_id="atelier",
    accounts={account.name: account for account in studio.accounts({})},
    min_free_gb=50,
    read_ahead_kb=15360,
    root="/mnt/noslop",
    max_block_bytes=262144,
    mount_options="vers=4.2,hard,nconnect=4,rsize=1048576,wsize=1048576,nosuid,nodev",
    models_options="acregmin=60,acregmax=600,acdirmin=1,acdirmax=3",
)
SERVER = dataclasses.replace(CLIENT, server=True)
LOCAL = dataclasses.replace(CLIENT, provider="local", server=True)
EXISTING = dataclasses.replace(CLIENT, provider="existing")
PROJECTS = {"name": "projects", "path": "/mnt/noslop/projects", "kind": "work", "env": "PROJECT_STORAGE_DIR"}
MODELS = {
    "name": "comfyui_models",
    "path": "/mnt/noslop/comfyui/models",
    "kind": "models",
    "env": "COMFYUI_MODELS_DIR",
    "owner": "noslop-models",
    "writers": "members",
}
NODES = {**MODELS, "name": "comfyui_custom_nodes", "owner": "noslop-nodes", "writers": "server"}
OPTIONS = "rw,nosuid,nodev,noexec,vers=4.2,rsize=262144,wsize=262144,hard,proto=tcp,nconnect=4"
MODELS_OPTIONS = OPTIONS + ",acregmin=60,acregmax=600,acdirmin=1,acdirmax=3"
NODES_OPTIONS = MODELS_OPTIONS.replace("rw,", "ro,").replace("noexec,", "")


def inspected(
    fstype: str = "nfs4",
    source: str = "10.77.42.11:/mnt/noslop/projects",
    point: str = "/mnt/noslop/projects",
    *,
    device: str = "0:52",
    is_mount_point: bool = True,
    options: str = OPTIONS,
) -> dict[str, Any]:
    marker = json.dumps({"studio_id": "atelier", "share": "projects", "share_id": "x"})
    return {
        "mount": {
            "fstype": fstype,
            "source": source,
            "point": point,
            "device": "0:52",
            "options": mountinfo.split_options(options),
        },
        "is_mount_point": is_mount_point,
        "device": device,
        "marker": {"text": marker, "error": ""},
        "free_bytes": 60e9,
    }


@pytest.fixture
def checks() -> Checks:
    return Checks("worker1")


def only(checks: Checks, name: str) -> Check:
    (check_result,) = [check for check in checks.list if check["check"] == name]
    return check_result


AUTOMOUNT, MOUNT = "mnt-noslop-projects.automount", "mnt-noslop-projects.mount"


@pytest.mark.parametrize(
    ("automount", "mount", "todo"),
    [
        (Unit(AUTOMOUNT, "loaded", "active"), Unit(MOUNT, "loaded", "active"), ""),
        (Unit(AUTOMOUNT, "loaded", "active"), Unit(MOUNT, "loaded", "inactive"), ""),
        (
            Unit(AUTOMOUNT, "masked", "inactive", "masked"),
            Unit(MOUNT, "masked", "inactive", "masked"),
            f"`systemctl unmask {AUTOMOUNT} {MOUNT}` and `systemctl start {AUTOMOUNT}` on worker1",
        ),
        (
            Unit(AUTOMOUNT, "masked", "inactive", "masked-runtime"),
            Unit(MOUNT, "loaded", "inactive"),
            f"`systemctl unmask --runtime {AUTOMOUNT}`",
        ),
        (Unit(AUTOMOUNT), Unit(MOUNT), "storage playbook again for worker1"),
        (Unit(AUTOMOUNT, "loaded", "inactive"), Unit(MOUNT, "loaded", "active"), f"`systemctl start {AUTOMOUNT}`"),
        (
            Unit(AUTOMOUNT, "loaded", "active"),
            Unit(MOUNT, "loaded", "failed", result="mount-start-limit-hit"),
            f"`systemctl reset-failed {AUTOMOUNT} {MOUNT}`",
        ),
    ],
)
def test_units_on_a_client(checks: Checks, automount: Unit, mount: Unit, todo: str) -> None:
    assert todo in storage_checks.judge_units(checks, PROJECTS, automount, mount)

    check = only(checks, "storage.units")
    assert check["ok"] == (not todo)
    assert todo in check["todo"]
    assert check["share"] == "projects"
    assert automount.name in check["seen"]


@pytest.mark.parametrize(
    ("storage", "inspection", "wrong"),
    [
        (CLIENT, inspected(), ""),
        (CLIENT, inspected(fstype="ext4", source="/dev/vda", point="/", is_mount_point=False), "not mounted"),
        (CLIENT, inspected(fstype="autofs", source="systemd-1"), "not mounted"),
        (CLIENT, inspected(source="10.77.42.11:/mnt/noslop/media_cache"), "another"),
        (CLIENT, inspected(source="10.77.42.99:/mnt/noslop/projects"), "another"),
        (CLIENT, inspected(fstype="nfs"), "another"),
        (CLIENT, inspected(device="0:99"), "another"),
        (SERVER, inspected(fstype="ext4", source="/dev/vda", point="/", is_mount_point=False), ""),
        (SERVER, inspected(fstype="xfs", source="/dev/sdb"), ""),
        (SERVER, inspected(), "another"),
        (LOCAL, inspected(fstype="tmpfs", source="tmpfs"), "another"),
        (EXISTING, inspected(fstype="ceph", point="/mnt/noslop", is_mount_point=False), ""),
        (EXISTING, inspected(fstype="xfs", source="/dev/sdb"), ""),
        (EXISTING, inspected(fstype="ext4", source="/dev/vda", point="/", is_mount_point=False), "not mounted"),
    ],
)
def test_mounted_file_system_is_checked(
    checks: Checks, storage: Storage, inspection: dict[str, Any], wrong: str
) -> None:
    assert storage_checks.judge_mount(checks, storage, PROJECTS, inspection, "") == wrong

    check = only(checks, "storage.mounted")
    assert check["ok"] == (not wrong)
    assert inspection["mount"]["fstype"] in check["seen"]
    assert bool(check["todo"]) == bool(wrong)


def test_step_for_a_missing_mount_comes_from_the_units(checks: Checks) -> None:
    bare = inspected(fstype="ext4", source="/dev/vda", point="/", is_mount_point=False)

    storage_checks.judge_mount(checks, CLIENT, PROJECTS, bare, "unmask it")

    assert only(checks, "storage.mounted")["todo"] == "unmask it"


def test_ipv6_address_in_a_source_has_brackets(checks: Checks) -> None:
    storage = dataclasses.replace(CLIENT, server_address="fd00::11")

    assert not storage_checks.judge_mount(
        checks, storage, PROJECTS, inspected(source="[fd00::11]:/mnt/noslop/projects"), ""
    )


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ('{"studio_id": "other", "share": "projects"}', "it belongs to the studio 'other', and this is the studio"),
        ('{"studio_id": "atelier", "share": "media_cache"}', "it is the share 'media_cache' of this studio"),
        ('{"studio_id": "atelier"}', "its marker .noslop-share is not readable as one"),
        ("[]", "its marker .noslop-share is not readable as one"),
        ("not json", "its marker .noslop-share is not readable as one"),
    ],
)
def test_wrong_marker_fails(checks: Checks, text: str, seen: str) -> None:
    inspection = {**inspected(), "marker": {"text": text, "error": ""}}

    assert not storage_checks.judge_marker(checks, CLIENT, PROJECTS, inspection)

    check = only(checks, "storage.marker")
    assert check["seen"].startswith(seen)
    assert "/mnt/noslop/projects on worker1" in check["todo"]


def test_step_for_a_missing_marker_names_the_server(checks: Checks) -> None:
    inspection = {**inspected(), "marker": {"text": "", "error": "No such file or directory"}}

    storage_checks.judge_marker(checks, CLIENT, PROJECTS, inspection)

    check = only(checks, "storage.marker")
    assert check["seen"] == "no readable marker: No such file or directory"
    assert "10.77.42.11" in check["todo"]


def test_right_marker_passes(checks: Checks) -> None:
    assert storage_checks.judge_marker(checks, CLIENT, PROJECTS, inspected())


@pytest.mark.parametrize(
    ("share", "options", "wrong"),
    [
        (PROJECTS, OPTIONS, ""),
        (MODELS, MODELS_OPTIONS, ""),
        (
            MODELS,
            OPTIONS,
            "acregmin is 3, not 60, acregmax is 60, not 600, acdirmin is 30, not 1, acdirmax is 60, not 3",
        ),
        (PROJECTS, OPTIONS.replace("hard", "soft"), "hard is off, soft is on"),
        (PROJECTS, OPTIONS.replace("vers=4.2", "vers=4.0"), "vers is 4.0, not 4.2"),
        (PROJECTS, OPTIONS.replace("proto=tcp", "proto=rdma"), "proto is rdma, not tcp"),
        (PROJECTS, OPTIONS.replace("proto=tcp", "proto=tcp6"), ""),
        (PROJECTS, OPTIONS.replace("nosuid,", ""), "nosuid is off"),
        (PROJECTS, OPTIONS + ",nocto", "nocto is on"),
        (PROJECTS, OPTIONS.replace("noexec,", ""), "noexec is off"),
        (MODELS, MODELS_OPTIONS.replace("rw,", "ro,"), "ro is on"),
        (NODES, NODES_OPTIONS, ""),
        (NODES, NODES_OPTIONS.replace("ro,", "rw,"), "ro is off"),
        ({**NODES, "writers": "members"}, NODES_OPTIONS.replace("ro,", "rw,"), ""),
    ],
)
def test_negotiated_options_are_checked(checks: Checks, share: dict[str, str], options: str, wrong: str) -> None:
    storage_checks.judge_options(checks, CLIENT, share, inspected(options=options)["mount"])

    check = only(checks, "storage.options")
    assert check["ok"] == (not wrong)
    assert check["seen"].endswith(f"wrong: {wrong}" if wrong else "")


@pytest.mark.parametrize(
    ("transport", "shown", "wrong"),
    [
        ("plain", "", ""),
        ("mtls", ",xprtsec=mtls", ""),
        ("mtls", "", "xprtsec is none, not mtls"),
        ("mtls", ",xprtsec=tls", "xprtsec is tls, not mtls"),
        ("plain", ",xprtsec=mtls", "xprtsec is mtls, not none"),
    ],
)
def test_mount_with_another_transport_fails(checks: Checks, transport: str, shown: str, wrong: str) -> None:
    storage = dataclasses.replace(CLIENT, transport=transport)

    storage_checks.judge_options(checks, storage, PROJECTS, inspected(options=OPTIONS + shown)["mount"])

    assert only(checks, "storage.options")["seen"].partition("wrong: ")[2] == wrong


TUNED = dataclasses.replace(
    CLIENT,
    mount_options="vers=4.1,nconnect=8,rsize=32768,wsize=32768,nosuid,nodev,noac",
    models_options="acdirmin=2,acdirmax=5",
    read_ahead_kb=4096,
)


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ("rw,nosuid,nodev,noexec,vers=4.1,rsize=32768,wsize=32768,acdirmin=2,acdirmax=5,hard,noac,proto=tcp", ""),
        (
            "rw,nosuid,nodev,noexec,vers=4.2,rsize=32768,wsize=32768,acdirmin=2,acdirmax=3,hard,noac,proto=tcp",
            "acdirmax is 3, not 5, vers is 4.2, not 4.1",
        ),
        (
            "rw,nosuid,nodev,noexec,vers=4.1,rsize=32768,wsize=32768,acdirmin=2,acdirmax=5,softerr,noac,proto=tcp",
            "hard is off, softerr is on",
        ),
    ],
)
def test_tuned_mount_is_compared_with_the_roles_own_options(checks: Checks, options: str, wrong: str) -> None:
    storage_checks.judge_options(checks, TUNED, MODELS, inspected(options=options)["mount"])
    storage_checks.judge_read_ahead(checks, TUNED, MODELS, 4096)

    assert {check["check"]: check["seen"].partition("wrong: ")[2] for check in checks.list if not check["ok"]} == (
        {"storage.options": wrong} if wrong else {}
    )


@pytest.mark.parametrize("flag", ["nosuid", "nodev"])
def test_safe_flags_are_required_even_where_the_role_does_not_request_them(checks: Checks, flag: str) -> None:
    storage = dataclasses.replace(CLIENT, mount_options=CLIENT.mount_options.replace(f",{flag}", ""))
    options = OPTIONS.replace(f"{flag},", "")

    storage_checks.judge_options(checks, storage, PROJECTS, inspected(options=options)["mount"])

    assert only(checks, "storage.options")["seen"].endswith(f"wrong: {flag} is off")


@pytest.mark.parametrize(("rsize", "ok"), [("262144", True), ("65536", True), ("32768", False)])
def test_block_size_may_be_the_servers_limit(checks: Checks, rsize: str, ok: bool) -> None:
    storage_checks.judge_options(checks, CLIENT, PROJECTS, inspected(options=f"rsize={rsize},wsize=262144")["mount"])

    check = only(checks, "storage.block_size")
    assert check["ok"] == ok
    assert "the server's limit is 262144" in check["seen"]


@pytest.mark.parametrize(("in_force_kb", "ok"), [(15360, True), (16384, True), (128, False), (None, False)])
def test_read_ahead_is_checked(checks: Checks, in_force_kb: int | None, ok: bool) -> None:
    storage_checks.judge_read_ahead(checks, CLIENT, MODELS, in_force_kb)

    assert only(checks, "storage.read_ahead")["ok"] == ok


def test_free_space_is_checked(checks: Checks) -> None:
    storage_checks.judge_space(checks, CLIENT, PROJECTS, {"free_bytes": 50e9})
    storage_checks.judge_space(checks, CLIENT, MODELS, {"free_bytes": 49.9e9})

    enough, short = checks.list
    assert enough["ok"]
    assert (short["ok"], short["seen"]) == (False, "the file system of /mnt/noslop/comfyui/models has 49.9 GB free")


def test_failed_write_fails(checks: Checks) -> None:
    storage_checks.judge_written(checks, CLIENT, PROJECTS, {"error": "Permission denied", "waited_s": 0.1})

    (check,) = checks.list
    assert (check["ok"], check["seen"]) == (False, "Permission denied")


def test_file_of_another_account_fails(checks: Checks) -> None:
    storage_checks.judge_written(checks, CLIENT, PROJECTS, {"uid": 65534, "gid": 65534, "waited_s": 0.1})

    assert only(checks, "storage.written")["ok"]
    assert not only(checks, "storage.owner")["ok"]


def test_wait_for_the_grace_period_is_reported(checks: Checks) -> None:
    storage_checks.judge_written(checks, CLIENT, PROJECTS, {"uid": 2600, "gid": 2600, "waited_s": 63.0})

    assert "after 63 s (a server that was restarted lets clients wait 90 s)" in only(checks, "storage.written")["seen"]


@pytest.mark.parametrize(("worst_s", "ok"), [(4.9, True), (-4.9, True), (5.1, False), (-3600.0, False)])
def test_clock_difference_is_checked(checks: Checks, worst_s: float, ok: bool) -> None:
    storage_checks.judge_clock(checks, {"projects": 0.1, "media_cache": worst_s})

    check = only(checks, "storage.clock")
    assert check["ok"] == ok
    assert f"{worst_s:+.1f} s" in check["seen"]


def test_nonces_of_other_hosts_are_checked(checks: Checks) -> None:
    storage_checks.judge_nonces(checks, PROJECTS, {"server": "", "worker2": ""})
    storage_checks.judge_nonces(checks, MODELS, {"server": "", "worker2": "No such file or directory"})

    good, bad = checks.list
    assert (good["ok"], good["seen"]) == (True, "read what server, worker2 wrote")
    assert (bad["ok"], bad["seen"]) == (False, "from worker2: No such file or directory")


def test_share_that_every_account_may_write_to_fails(checks: Checks) -> None:
    outside = {**PROJECTS, "path": "/srv/projects"}

    storage_checks.judge_closed(checks, CLIENT, PROJECTS, open_to_all=False)
    storage_checks.judge_closed(checks, CLIENT, PROJECTS, open_to_all=True)
    storage_checks.judge_closed(checks, CLIENT, outside, open_to_all=True)

    closed, opened, noted = checks.list
    assert closed["ok"]
    assert not opened["ok"]
    assert is_note(noted)


def test_file_belongs_to_the_account_of_its_share(checks: Checks) -> None:
    storage_checks.judge_written(checks, CLIENT, MODELS, {"uid": 2601, "gid": 2601, "waited_s": 0.1})
    storage_checks.judge_written(checks, CLIENT, MODELS, {"uid": 2600, "gid": 2600, "waited_s": 0.1})

    owners = [check for check in checks.list if check["check"] == "storage.owner"]
    assert [check["ok"] for check in owners] == [True, False]
    assert owners[1]["expected"] == "2601:2601"


def test_only_the_server_writes_custom_nodes_unless_members_may() -> None:
    assert CLIENT.is_read_only(NODES)
    assert not SERVER.is_read_only(NODES)
    assert not CLIENT.is_read_only(MODELS)


@pytest.mark.parametrize(("reason", "ok"), [("Read-only file system", True), ("", False)])
def test_write_to_a_read_only_share_must_be_refused(checks: Checks, reason: str, ok: bool) -> None:
    storage_checks.judge_refused_write(checks, NODES, {"refused_write": reason})

    assert only(checks, "storage.read_only")["ok"] == ok
    assert reason in only(checks, "storage.read_only")["seen"]


@pytest.mark.parametrize(
    ("inodes", "free", "ok"),
    [
        (0, 0, True),
        (1_000_000, 0, False),
        (1_000_000, 49_999, False),
        (1_000_000, 50_000, True),
        (100_000_000, 100_000, True),
        (100_000_000, 99_999, False),
    ],
)
def test_free_inodes_are_checked(checks: Checks, inodes: int, free: int, ok: bool) -> None:
    host_rules.judge_inodes(checks, "/mnt/noslop/projects", inodes, free)

    assert only(checks, "storage.inodes")["ok"] == ok


@pytest.mark.parametrize(
    ("change", "bad", "seen"),
    [
        ({}, set(), ""),
        ({"noslop-nodes": None}, {"storage.account"}, "no account noslop-nodes"),
        ({"noslop": (2610, 2600, (2600,))}, {"storage.account"}, "noslop is 2610:2600, not 2600:2600"),
        ({"noslop-nodes": (2602, 2602, (2602, 27))}, {"storage.account_groups"}, "noslop-nodes is in the groups 27"),
        ({"noslop-models": (2601, 2601, (2601, 2600))}, {"storage.account_groups"}, "noslop-models is in the groups"),
        # The only account that belongs to another group.
        ({"noslop-backend": (2605, 2605, (2605, 2600))}, set(), ""),
    ],
)
def test_accounts_are_checked(
    checks: Checks, change: dict[str, tuple[int, int, tuple[int, ...]] | None], bad: set[str], seen: str
) -> None:
    present = {name: (account.uid, account.gid, (account.gid,)) for name, account in CLIENT.accounts.items()}
    storage_checks.judge_accounts(
        checks, CLIENT, {name: value for name, value in {**present, **change}.items() if value is not None}
    )

    failed = [check for check in checks.list if not check["ok"]]
    assert {check["check"] for check in failed} == bad
    assert all(seen in check["seen"] for check in failed)
