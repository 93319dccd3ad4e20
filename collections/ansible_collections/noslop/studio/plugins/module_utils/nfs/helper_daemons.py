# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop and restore the helpers of NFSv3 (rpcbind, statd), which NFSv4 does not need and which listen on the network.

A drop-in that a role writes keeps them from starting. This module stops those that already run.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import Mount
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Systemd


def stop(systemd: Systemd, units: Sequence[str]) -> None:
    """Stop the helpers that run, after systemd has read the drop-ins that keep them from starting."""
    state = systemd.show(units)
    if any(unit.stale for unit in state.values()):
        systemd.reload_manager()
    active = [name for name, unit in state.items() if unit.is_active]
    if active:
        systemd.do("stop", *active)


def restore(systemd: Systemd, units: Sequence[str]) -> None:
    """Start the helpers that are enabled, as the next start of the host would."""
    state = systemd.show(units)
    back = [name for name, unit in state.items() if unit.enabled == "enabled" and not unit.is_active]
    if back:
        systemd.do("start", *back)


def find_dependents(mounts: Sequence[Mount], ours: Sequence[str]) -> list[str]:
    """Return a sentence for each mount that is not ours, uses NFSv3 and needs the helpers."""
    return [
        f"{mount.source} is mounted at {mount.point} by NFSv3, which needs rpcbind and statd. Mount it with vers=4.2, "
        "unmount it, or set nfs_client_quiet_units to [] for this host: rpcbind then listens on the network."
        for mount in mounts
        if mount.fstype == "nfs" and mount.point not in ours
    ]
