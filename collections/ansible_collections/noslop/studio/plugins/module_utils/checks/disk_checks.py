# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that the disks of the shares are mounted on the host that has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, enumerate_words
from ansible_collections.noslop.studio.plugins.module_utils.checks.storage_checks import describe_unit
from ansible_collections.noslop.studio.plugins.module_utils.host import fstab, mountinfo, state
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Unit
from ansible_collections.noslop.studio.plugins.module_utils.nfs import exports as exports_of
from ansible_collections.noslop.studio.plugins.module_utils.share import disks
from ansible_collections.noslop.studio.plugins.module_utils.share.path_rules import make_unit_name


def check_disks(checks: Checks, shares: Sequence[Mapping[str, str]]) -> None:
    """Read fstab, the file with the exports and the mounts of this host, and check the disks of its shares."""
    # The file, and not what the server exports: without the disk, systemd does not start it.
    exports = exports_of.parse_exportfs(state.read_text(studio.EXPORTS_FILE))
    points = exports_of.list_mount_points(exports)
    missing = disks.find_missing_disks(shares, fstab.read(), points, mountinfo.read_mounts())
    units = state.read_units([make_unit_name(disk.point, "mount") for disk in missing])
    judge_disks(checks, missing, units, exported=bool(exports))


def judge_disks(
    checks: Checks, missing: Sequence[disks.MissingDisk], units: Mapping[str, Unit], *, exported: bool
) -> None:
    """Report each disk that is not mounted, with its mount unit. What is beneath is neither exported nor used.

    Args:
        checks: where the results go.
        missing: the disks.
        units: the state of their mount units, by name.
        exported: whether this host exports shares: nfs-server-generator(8) has its NFS server require their disks.
    """
    for disk in missing:
        unit = units[make_unit_name(disk.point, "mount")]
        listed = f" ({disk.source} in {fstab.PATH})" if disk.source else ""
        start = f"`systemctl start {unit.name}{f' {studio.NFS_SERVER_UNIT}' if exported else ''}`"
        checks.add(
            "server.disks",
            False,
            share=disk.shares[0] if len(disk.shares) == 1 else "",
            seen=f"the disk of {enumerate_words(disk.shares)}{listed} is not mounted at {disk.point}: "
            f"{describe_unit(unit)}",
            expected=f"{disk.source or 'a disk'} is mounted at {disk.point}",
            todo=(
                f"see on {checks.host} whether the disk is there (`lsblk --fs`) and why it was not mounted "
                f"(`systemctl status {unit.name}`), run {start}, and verify again; until then clients wait, and "
                "nothing is written to the directory beneath"
            ),
        )
    if not missing:
        text = "every disk of a share is mounted"
        checks.add("server.disks", True, seen=text, expected=text, todo="")
