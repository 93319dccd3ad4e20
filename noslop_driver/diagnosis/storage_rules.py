# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognise faults of the disks, exports and directories of the host that has the shares."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import enumerate_words, format_gigabytes

from noslop_driver.diagnosis.case import Case, HostCase
from noslop_driver.diagnosis.cause import Cause, Layer, PlaybookStep, Remedy, Risk, Scope, UnitState, UnitStep
from noslop_driver.diagnosis.evidence import Disk, Evidence

#: A file system with less is full: what is written there fails now or in a moment.
FULL_BYTES = 64 * 1024 * 1024
FULL_INODES = 100
_WRITES = ("storage.written", "storage.free", "storage.inodes", "storage.shared", "storage.owner", "services.", "smb.")


def find_disk_causes(case: Case) -> Iterator[Cause]:
    """Yield file systems that are full, have no inodes left or became read-only; each once, on the host that has it."""
    paths = {share.path: share.name for share in case.shares}
    for host, evidence in case.answered():
        disks: dict[str, list[Disk]] = {}
        for disk in evidence.disks:
            disks.setdefault(disk.device, []).append(disk)
        for same in disks.values():
            shares = frozenset(paths[disk.path] for disk in same if disk.path in paths)
            yield from _judge_disk(case, host, same[0], shares)
    yield from _find_quota(case)


def _judge_disk(case: Case, host: HostCase, disk: Disk, shares: frozenset[str]) -> Iterator[Cause]:
    scopes: tuple[Scope, ...] = (Scope(frozenset({host.name}), ("host.", "services.", "server.")),)
    if shares:
        scopes = (*scopes, Scope(None, _WRITES, shares))
    named = f"the file system of {enumerate_words(sorted(shares), disk.path)} on {host.name}"
    where = shlex.quote(disk.path)
    low = [check for check in case.failed if check["check"] == "storage.free" and check["share"] in shares]
    if disk.read_only:
        command = (
            f"journalctl -k -n 100 shows why; check the disk (`smartctl -H`, fsck), then mount -o remount,rw {where}"
        )
        yield Cause(
            "disk.read_only",
            host.name,
            Layer.DISK,
            f"{named} is read-only: the kernel may have met errors of the disk",
            [f"{disk.path}: mounted read-only"],
            Remedy(command, Risk.DATA),
            scopes,
        )
    elif disk.bytes and disk.free_bytes < FULL_BYTES:
        yield Cause(
            "disk.full",
            host.name,
            Layer.DISK,
            f"{named} is full",
            [f"{disk.path}: {format_gigabytes(disk.free_bytes)} of {format_gigabytes(disk.bytes)} free"],
            Remedy(_describe_cleanup(where, bool(shares)), Risk.DATA),
            scopes,
        )
    elif disk.inodes and disk.free_inodes < FULL_INODES:
        command = f"du --inodes -x {where} | sort -n | tail -20: remove directories of many small files"
        yield Cause(
            "disk.inodes",
            host.name,
            Layer.DISK,
            f"{named} has no inodes left: it cannot have more files",
            [f"{disk.path}: {disk.free_inodes} of {disk.inodes} inodes free"],
            Remedy(command, Risk.DATA),
            scopes,
        )
    elif low and shares:
        yield Cause(
            "disk.low",
            host.name,
            Layer.DISK,
            f"{named} has less room than noslop_min_free_gb",
            [f"{disk.path}: {format_gigabytes(disk.free_bytes)} of {format_gigabytes(disk.bytes)} free"],
            Remedy(_describe_cleanup(where, True), Risk.DATA),
            (Scope(None, ("storage.free",), shares),),
        )


def _describe_cleanup(where: str, models: bool) -> str:
    collect = "`noslop-driver models gc` names models that nothing uses; " if models else ""
    return f"{collect}du -xh --max-depth=2 {where} | sort -h | tail -20, and remove or move what is not needed"


def _find_quota(case: Case) -> Iterator[Cause]:
    refused = [
        check for check in case.failed if check["check"] == "storage.written" and "quota" in check["seen"].lower()
    ]
    shares = {check["share"] for check in refused}
    server = case.server
    for share in (one for one in case.shares if one.name in shares):
        host = server.name if server else refused[0]["host"]
        yield Cause(
            "disk.quota",
            host,
            Layer.DISK,
            f"the quota of {share.owner} on {host} is used up (share {share.name})",
            [f"{check['host']}: {check['seen']}" for check in refused if check["share"] == share.name],
            Remedy(f"quota -u {share.owner}; edquota -u {share.owner} raises it", Risk.NONE),
            (Scope(None, _WRITES, frozenset({share.name})),),
        )


def find_tree_causes(case: Case) -> Iterator[Cause]:
    """Yield shares with directories that their owner, as whom every client writes, cannot change."""
    for host, evidence in case.answered():
        for share in case.shares:
            tree = evidence.trees.get(share.name)
            if tree is None or not tree.count or not case.stores(host):
                continue
            examples = [f"{one.path} belongs to {one.uid}:{one.gid}" for one in tree.examples]
            what = f"{share.owner} cannot write to {tree.count} directories below {share.path} on {host.name}"
            command = f"chown -hR {share.owner}:{share.owner} {shlex.quote(share.path)}"
            scopes = (Scope(None, ("storage.owner", "services.backend"), frozenset({share.name})),)
            yield Cause("share.ownership", host.name, Layer.DISK, what, examples, Remedy(command, Risk.DATA), scopes)


def find_export_causes(case: Case) -> Iterator[Cause]:
    """Yield exports that the kernel has and no file, or the other way round, and a server with too few threads."""
    server = case.server
    if server is None or case.provider != "nfs" or server.evidence is None:
        return
    unit = server.evidence.units.get(studio.NFS_SERVER_UNIT)
    if server.evidence.exports is None or (unit and unit.active != "active"):
        return
    yield from _compare_exports(case, server, server.evidence)
    threads = case.failures(server.name, "server.threads")
    if threads:
        name = studio.NFS_SERVER_UNIT
        remedy = Remedy(
            f"systemctl restart {name}", Risk.RESTART, (UnitStep(name, UnitState.RESTARTED),), works_now=True
        )
        yield Cause(
            "server.threads",
            server.name,
            Layer.SERVER,
            f"the NFS server of {server.name} has too few threads",
            [check["seen"] for check in threads],
            remedy,
            (Scope(frozenset({server.name}), ("server.threads",)),),
        )


def _compare_exports(case: Case, server: HostCase, evidence: Evidence) -> Iterator[Cause]:
    exports = evidence.exports
    if exports is None:
        return
    paths = {share.path: share.name for share in case.shares if share.clients is None}
    unwritten = sorted(set(paths) - set(exports.written))
    missing = sorted(set(paths) - set(exports.exported))
    clients = [host for host in case.hosts.values() if case.mounts(host)]
    if not clients:
        return
    again = Remedy(f"{case.deploy} --limit {server.name}", Risk.RESTART, (PlaybookStep("storage"),), works_now=True)
    shown = [f"in {studio.EXPORTS_FILE}: {enumerate_words(exports.written)}"]
    shown += [f"exported by the kernel: {enumerate_words(exports.exported)}"]
    own = frozenset({server.name})
    if unwritten:
        lost = frozenset(paths[path] for path in unwritten if path in missing)
        what = f"{studio.EXPORTS_FILE} on {server.name} lacks {enumerate_words(unwritten)}"
        if not lost:
            what += ": the kernel still serves it, until the next restart"
        scopes = [Scope(own, ("host.files", "server.exports"))]
        scopes += [Scope(None, ("storage.", "services."), lost)] if lost else []
        yield Cause(
            "server.exports_file", server.name, Layer.SERVER if lost else Layer.LATER, what, shown, again, tuple(scopes)
        )
    written = [path for path in missing if path not in unwritten]
    if written:
        name = studio.NFS_SERVER_UNIT
        what = f"the NFS server of {server.name} does not export {enumerate_words(written)}, which its file has"
        remedy = Remedy(f"systemctl reload {name}", Risk.NONE, (UnitStep(name, UnitState.RELOADED),))
        scopes = [
            Scope(own, ("server.exports",)),
            Scope(None, ("storage.", "services."), frozenset(paths[path] for path in written)),
        ]
        yield Cause("server.exports_kernel", server.name, Layer.SERVER, what, shown, remedy, tuple(scopes))
