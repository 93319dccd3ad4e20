# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a share on a host: judge what ``share.inspection`` returned. Pure: touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import host_rules
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import (
    Checks,
    enumerate_words,
    shorten,
)
from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Unit
from ansible_collections.noslop.studio.plugins.module_utils.nfs import mount_options
from ansible_collections.noslop.studio.plugins.module_utils.probe import directories
from ansible_collections.noslop.studio.plugins.module_utils.share import markers

#: nfsd grants at most a 4096th of its memory as block size; below this value the mount is broken.
LEAST_BLOCK_BYTES = 64 * 1024
#: Flags without which a mount loses data or grants rights, whatever the role's options are.
SAFE_FLAGS = ("hard", "nosuid", "nodev")
#: Flags that lose data (nfs(5)).
UNSAFE_FLAGS = ("soft", "softerr", "softreval", "nocto")
CLOCK_TOLERANCE_S = 5.0
#: A longer wait is reported; the usual reason is the server's grace period after a restart (nfs.conf(5)).
REPORTED_WAIT_S = 5.0


@dataclass(frozen=True)
class Storage:
    """The requested state of the storage on one host."""

    provider: str
    server: bool
    server_address: str
    studio_id: str
    accounts: Mapping[str, studio.AccountNumbers]
    min_free_gb: float
    read_ahead_kb: int
    root: str
    max_block_bytes: int = 0
    require_own_file_system: bool = False
    mount_options: str = ""
    models_options: str = ""
    transport: str = "plain"

    @property
    def is_client(self) -> bool:
        """Return whether NoSlop mounts the shares on this host."""
        return self.provider == "nfs" and not self.server

    @property
    def people(self) -> studio.AccountNumbers:
        """Return the account whose group may enter the storage root."""
        return self.accounts[studio.PEOPLE]

    def owner(self, share: Mapping[str, str]) -> studio.AccountNumbers:
        """Return the account that owns a share, and to which its export squashes."""
        return self.accounts[share.get("owner") or studio.PEOPLE]

    def is_read_only(self, share: Mapping[str, str]) -> bool:
        """Return whether this host may read a share and not write to it."""
        return self.is_client and share.get("writers") == "server"


def describe_unit(unit: Unit) -> str:
    """Return the state of a unit in one phrase."""
    if unit.load != "loaded":
        return f"{unit.name} is {unit.load}"
    because = f" ({unit.result})" if unit.active == "failed" and unit.result else ""
    return f"{unit.name} is {unit.active}{because}"


def rerun_step(host: str) -> str:
    """Return the step that repairs the storage of a host."""
    return f"run the storage playbook again for {host}"


def judge_units(checks: Checks, share: Mapping[str, str], automount: Unit, mount: Unit) -> str:
    """Check that the units of a share on a client are loaded and active. Returns what to do, empty when they are."""
    todo = ""
    units = (automount, mount)
    masked = [unit for unit in units if unit.load == "masked"]
    if masked:
        runtime = " --runtime" if any(unit.enabled == "masked-runtime" for unit in masked) else ""
        todo = (
            f"run `systemctl unmask{runtime} {' '.join(unit.name for unit in masked)}` and "
            f"`systemctl start {automount.name}` on {checks.host}, then verify again"
        )
    elif any(unit.load != "loaded" for unit in units):
        todo = rerun_step(checks.host)
    elif automount.active != "active" or mount.active == "failed":
        todo = (
            f"run `systemctl reset-failed {automount.name} {mount.name}` and `systemctl start {automount.name}` "
            f"on {checks.host}, then verify again; `journalctl -u {mount.name}` tells what happened"
        )
    checks.add(
        "storage.units",
        not todo,
        share=share["name"],
        seen="; ".join(describe_unit(unit) for unit in units),
        expected=f"{automount.name} is active, so that {share['path']} is mounted whenever it is used",
        todo=todo,
    )
    return todo


def find_mount_problem(storage: Storage, path: str, inspected: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return what is mounted at a path, what should be, and the kind of problem; the last is empty when it is right."""
    mount = inspected["mount"]
    if mount is None:
        return "no mount leads there", "a mounted file system", "nothing"
    observed = f"{mount['fstype']} from {mount['source']} at {mount['point']}"
    network = mount["fstype"] in mountinfo.NETWORK_TYPES
    if storage.is_client:
        expected = f"nfs4 from {storage.server_address}:{path} at {path}"
        if not inspected["is_mount_point"] or not mount["fstype"].startswith("nfs"):
            return observed, expected, "not mounted"
        wrong_source = mount["source"] != mount_options.source_of(storage.server_address, path)
        wrong_device = mount["device"] != inspected["device"]
        if mount["fstype"] != "nfs4" or wrong_source or wrong_device:
            return observed, expected, "another"
        return observed, expected, ""
    if storage.provider == "existing":
        expected = "a network file system, or another one mounted there by you"
        return observed, expected, "" if directories.can_be_shared(mount["fstype"], mount["point"]) else "not mounted"
    expected = "a file system on this host's own disks"
    return observed, expected, "another" if network or mount["fstype"] in mountinfo.VOLATILE_TYPES else ""


def judge_mount(
    checks: Checks, storage: Storage, share: Mapping[str, str], inspected: Mapping[str, Any], todo: str
) -> str:
    """Check that the right file system is mounted. ``todo`` comes from :func:`judge_units`. Returns the problem."""
    path = share["path"]
    observed, expected, wrong = find_mount_problem(storage, path, inspected)
    steps = {
        "not mounted": todo or rerun_step(checks.host),
        "another": f"{rerun_step(checks.host)}; if that refuses it, run `umount {path}` on {checks.host} first",
    }
    if storage.provider == "existing":
        steps["not mounted"] = f"mount your file system so that it holds {path} on {checks.host}"
    elif not storage.is_client:
        steps["another"] = f"move {path} to a disk of {checks.host}, or set noslop_storage_provider to existing"
    checks.add(
        "storage.mounted", not wrong, share=share["name"], seen=observed, expected=expected, todo=steps.get(wrong, todo)
    )
    return wrong


def find_marker_problem(studio_id: str, share: str, marker: Mapping[str, str]) -> str:
    """Return the problem of a marker that was read, without the next step; empty when it is the right one."""
    if marker["error"]:
        return f"no readable marker: {marker['error']}"
    return markers.find_problem(marker["text"], studio_id, share).partition(". ")[0]


def judge_marker(checks: Checks, storage: Storage, share: Mapping[str, str], inspected: Mapping[str, Any]) -> bool:
    """Check that the marker names this share of this studio."""
    problem = find_marker_problem(storage.studio_id, share["name"], inspected["marker"])
    where = (
        checks.host if storage.provider == "local" or storage.server else f"the storage server {storage.server_address}"
    )
    missing = bool(inspected["marker"]["error"])
    return checks.add(
        "storage.marker",
        not problem,
        share=share["name"],
        seen=problem or f"the marker of share {share['name']}",
        expected=f"share {share['name']} of studio {storage.studio_id}",
        todo=(
            f"make sure that {share['path']} on {where} holds this studio's data, then run the storage playbook again: "
            "it writes a missing marker"
            if missing
            else f"another directory is at {share['path']} on {checks.host}: mount or move the right one there"
        ),
    )


def judge_options(checks: Checks, storage: Storage, share: Mapping[str, str], mount: Mapping[str, Any]) -> None:
    """Check the mount options in force, which kernel and server negotiated, against those that the role requests."""
    options: Mapping[str, str] = mount["options"]
    requested = mount_options.compose(share, storage.mount_options, storage.models_options, storage.transport)
    wanted = mountinfo.split_options(requested)
    if "vers" not in wanted:
        requested = f"vers=4.2,{requested}"
    wrong = mount_options.find_reasons_to_remount(mountinfo.Mount(**mount), mount["source"], requested)
    wrong += [f"{name} is on" for name in UNSAFE_FLAGS if name in options and f"{name} is on" not in wrong]
    wrong += [f"{name} is off" for name in SAFE_FLAGS if name not in options and f"{name} is off" not in wrong]
    protocol = wanted.get("proto", "tcp")
    if not options.get("proto", "").startswith(protocol):
        wrong.append(f"proto is {options.get('proto', 'not set')}, not {protocol}")
    names = ["vers", "proto", "xprtsec", "nconnect", "acregmin", "acregmax", "acdirmin", "acdirmax"]
    observed = ",".join(
        ["hard"] * ("hard" in options) + [f"{name}={options[name]}" for name in names if name in options]
    )
    checks.add(
        "storage.options",
        not wrong,
        share=share["name"],
        seen=f"{observed}; wrong: {', '.join(wrong)}" if wrong else observed,
        expected=f"{requested}, as nfs_client_options, nfs_client_models_options and noslop_nfs_transport request",
        todo=f"{rerun_step(checks.host)}, which mounts it again",
    )
    sizes = [int(options[name]) for name in ("rsize", "wsize") if options.get(name, "").isdigit()]
    asked = [int(wanted[name]) for name in ("rsize", "wsize") if wanted.get(name, "").isdigit()]
    least = min([LEAST_BLOCK_BYTES, *asked])
    limit = storage.max_block_bytes
    reasons = [f"{min(asked)} asked"] * bool(asked) + [f"the server's limit is {limit}"] * bool(limit)
    checks.add(
        "storage.block_size",
        len(sizes) == 2 and min(sizes) >= least,
        share=share["name"],
        seen=f"rsize={options.get('rsize')}, wsize={options.get('wsize')}"
        + (f" ({', '.join(reasons)})" if reasons else ""),
        expected=f"at least {least}",
        todo=f"look into /proc/fs/nfsd/max_block_size on the server; then {rerun_step(checks.host)}",
    )


def judge_read_ahead(checks: Checks, storage: Storage, share: Mapping[str, str], in_force_kb: int | None) -> None:
    """Check the read-ahead of shares with models; the kernel's default for NFS is 128 KiB."""
    checks.add(
        "storage.read_ahead",
        in_force_kb is not None and in_force_kb >= storage.read_ahead_kb,
        share=share["name"],
        seen="not known" if in_force_kb is None else f"{in_force_kb} KiB",
        expected=f"at least {storage.read_ahead_kb} KiB",
        todo=(
            f"{rerun_step(checks.host)}; if it stays, run `systemctl restart systemd-udevd` there and mount the share "
            "again"
        ),
    )


def judge_space(checks: Checks, storage: Storage, share: Mapping[str, str], inspected: Mapping[str, Any]) -> None:
    """Check that the share has enough free space."""
    host_rules.judge_free_space(
        checks,
        [share["path"]],
        inspected["free_bytes"],
        storage.min_free_gb,
        check="storage.free",
        share=share["name"],
    )


def judge_refused_write(checks: Checks, share: Mapping[str, str], written: Mapping[str, Any]) -> None:
    """Check that a write was refused where the host may only read the share."""
    reason = written["refused_write"]
    checks.add(
        "storage.read_only",
        bool(reason),
        share=share["name"],
        seen=f"a file was refused: {reason}" if reason else "a file could be made",
        expected=f"{checks.host} may read {share['path']} and not write there: only the storage server may",
        todo=f"{rerun_step('the storage server')}, then for {checks.host}",
    )


def judge_accounts(checks: Checks, storage: Storage, present: Mapping[str, tuple[int, int, tuple[int, ...]]]) -> None:
    """Check that each account has its numbers, and is in no further group.

    Args:
        checks: where the results go.
        storage: the requested state.
        present: name to uid, gid and all groups of each account that exists on the host.
    """
    wrong = []
    joined = []
    for name, account in storage.accounts.items():
        if name not in present:
            wrong.append(f"no account {name}")
            continue
        uid, gid, groups = present[name]
        if (uid, gid) != (account.uid, account.gid):
            wrong.append(f"{name} is {uid}:{gid}, not {account.uid}:{account.gid}")
        wanted = {gid, *(storage.accounts[group].gid for group in account.groups)}
        further = sorted(set(groups) - wanted)
        joined += [f"{name} is in the groups {enumerate_words(map(str, further))}"] if further else []
    checks.add(
        "storage.account",
        not wrong,
        seen="; ".join(wrong) or f"{enumerate_words(storage.accounts)} have their numbers",
        expected="each account of the studio has the same numbers on every host",
        todo=rerun_step(checks.host),
    )
    checks.add(
        "storage.account_groups",
        not joined,
        seen="; ".join(joined) or "each is in its own groups",
        expected="no account of a share or a service is in a further group, which would give it more than its own",
        todo=f"take it out on {checks.host} with `gpasswd --delete ACCOUNT GROUP`",
    )


def judge_written(checks: Checks, storage: Storage, share: Mapping[str, str], written: Mapping[str, Any]) -> None:
    """Check that a file could be written as the owner of the share, and belongs to it."""
    owner = storage.owner(share)
    problem = written.get("error", "")
    waited_s = written.get("waited_s", 0.0)
    waited = (
        f", after {waited_s:.0f} s (a server that was restarted lets clients wait 90 s)"
        if waited_s > REPORTED_WAIT_S
        else ""
    )
    if not checks.add(
        "storage.written",
        not problem,
        share=share["name"],
        seen=shorten(problem) + waited if problem else f"a file was written{waited}",
        expected=f"{owner.name} (uid {owner.uid}) writes a file to {share['path']}",
        todo=(
            f"{rerun_step('the server')}, then for {checks.host}"
            if storage.provider == "nfs"
            else f"give the account {owner.name} (uid {owner.uid}) the right to write to {share['path']}"
        ),
    ):
        return
    checks.add(
        "storage.owner",
        (written["uid"], written["gid"]) == (owner.uid, owner.gid),
        share=share["name"],
        seen=f"the file belongs to {written['uid']}:{written['gid']}",
        expected=f"{owner.uid}:{owner.gid}",
        todo=rerun_step("the storage server")
        + ": its exports and its directories give each file to the share's account",
    )


def judge_clock(checks: Checks, differences_s: Mapping[str, float]) -> None:
    """Check this host's clock against the file server's; the largest difference counts."""
    share, difference_s = max(differences_s.items(), key=lambda item: abs(item[1]))
    checks.add(
        "storage.clock",
        abs(difference_s) <= CLOCK_TOLERANCE_S,
        seen=f"{difference_s:+.1f} s against the file server's clock (share {share})",
        expected=f"within {CLOCK_TOLERANCE_S:g} s",
        todo=(
            f"run `timedatectl set-ntp true` on {checks.host} and on the server, and wait until `timedatectl` says "
            "that the clock is synchronized"
        ),
    )


def judge_nonces(checks: Checks, share: Mapping[str, str], wrong: Mapping[str, str]) -> None:
    """Check that this host reads what every other host has just written."""
    bad = {host: problem for host, problem in wrong.items() if problem}
    checks.add(
        "storage.shared",
        not bad,
        share=share["name"],
        seen=(
            "; ".join(f"from {host}: {problem}" for host, problem in bad.items())
            or f"read what {enumerate_words(wrong)} wrote"
        ),
        expected=f"the files that {enumerate_words(wrong)} wrote a moment ago",
        todo=(
            f"mend the failed storage checks of {enumerate_words(bad)} and {checks.host} first; if there are none, "
            f"these hosts have different directories at {share['path']}: {rerun_step('all of them')}"
        ),
    )


def judge_closed(checks: Checks, storage: Storage, share: Mapping[str, str], open_to_all: bool) -> None:
    """Check that accounts outside the group have no access: with ``all_squash`` the server cannot distinguish them."""
    path = share["path"]
    if open_to_all and not mountinfo.is_below(path, storage.root):
        checks.note(
            "storage.closed",
            share=share["name"],
            seen=f"every account of {checks.host} may write to {path}, which lies outside {storage.root}",
            expected=f"a directory above {path} that only the group {storage.people.gid} may enter",
        )
        return
    checks.add(
        "storage.closed",
        not open_to_all,
        share=share["name"],
        seen=f"uid 65534 may {'write there' if open_to_all else 'not write there'}",
        expected="only the service account and its group may",
        todo=f"{rerun_step(checks.host)}: {storage.root} is to be 0750 root:noslop",
    )
