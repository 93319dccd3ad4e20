# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognise faults of the mount of a share on a client that reaches the storage server."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check
from ansible_collections.noslop.studio.plugins.module_utils.nfs import mount_options
from ansible_collections.noslop.studio.plugins.module_utils.share.path_rules import make_unit_name

from noslop_driver.diagnosis.case import Case, HostCase
from noslop_driver.diagnosis.cause import (
    Cause,
    Layer,
    PlaybookStep,
    Remedy,
    RemountStep,
    Risk,
    Scope,
    UnitState,
    UnitStep,
)
from noslop_driver.diagnosis.evidence import Evidence, Mount, Unit
from noslop_driver.diagnosis.network_rules import OPEN


def find_mount_causes(case: Case) -> Iterator[Cause]:
    """Yield what is wrong with the mounts of each client."""
    for host, evidence in case.answered():
        for share in case.shares if case.mounts(host) else ():
            automount, mount = case.share_units(share, evidence)
            if automount and mount:
                observed = evidence.mounts.get(share.name)
                there = observed if observed and observed.point == share.path else None
                cause = _find_cause(_Look(case, host, share, automount, mount, evidence, there))
                if cause:
                    yield cause


@dataclass(frozen=True)
class _Look:
    """A share on one client, with what there is of its mount."""

    case: Case
    host: HostCase
    share: studio.Share
    automount: Unit
    mount: Unit
    evidence: Evidence
    there: Mount | None
    """The mount at the share's path itself."""

    @property
    def names(self) -> tuple[str, str]:
        """Return the names of the automount and the mount."""
        return make_unit_name(self.share.path, "automount"), make_unit_name(self.share.path, "mount")

    @property
    def start(self) -> tuple[UnitStep, UnitStep]:
        """Return the steps that start the automount, now and with the host."""
        return UnitStep(self.names[0], UnitState.ENABLED), UnitStep(self.names[0], UnitState.STARTED)

    def show(self) -> list[str]:
        """Return the evidence as lines."""
        auto, mount = self.automount, self.mount
        failed = f" ({mount.result})" if mount.active == "failed" else ""
        lines = [f"{self.names[0]}: {auto.load}, {auto.active}, {auto.enabled}"]
        lines.append(f"{self.names[1]}: {mount.load}, {mount.active}{failed}")
        if self.there:
            lines.append(f"{self.share.path}: {self.there.type} from {self.there.source}, {self.there.options}")
        return lines


def _find_cause(look: _Look) -> Cause | None:
    """Return the first fault of a mount."""
    finders = (_find_masked, _find_removed, _find_other, _find_stopped, _find_read_only, _find_failed, _find_disabled)
    causes = (find(look) for find in finders)
    return next((cause for cause in causes if cause), None)


def _find_masked(look: _Look) -> Cause | None:
    units = zip(look.names, (look.automount, look.mount), strict=True)
    masked = [name for name, unit in units if unit.load == "masked"]
    if not masked:
        return None
    runtime = " --runtime" if "masked-runtime" in (look.automount.enabled, look.mount.enabled) else ""
    command = f"systemctl unmask{runtime} {' '.join(masked)} && systemctl enable --now {look.names[0]}"
    steps = (*(UnitStep(name, UnitState.UNMASKED) for name in masked), *look.start)
    what = f"the unit of {look.share.path} is masked"
    return _make(look, "mount.masked", what, Remedy(command, steps=steps))


def _find_removed(look: _Look) -> Cause | None:
    if "not-found" not in (look.automount.load, look.mount.load):
        return None
    remedy = Remedy(f"{look.case.deploy} --limit {look.host.name}", Risk.RESTART, (PlaybookStep("storage"),))
    return _make(look, "mount.removed", f"the units of {look.share.path} are gone", remedy)


def _find_other(look: _Look) -> Cause | None:
    way, there, path = look.evidence.way, look.there, look.share.path
    if way is None or there is None or not there.type.startswith("nfs"):
        return None
    # The server as this host was deployed with it: the inventory may write its address in another way.
    if there.source == mount_options.source_of(way.server, path):
        return None
    command = f"umount {shlex.quote(path)} && systemctl enable --now {look.names[0]}"
    steps = (UnitStep(look.names[1], UnitState.STOPPED), *look.start)
    what = f"another export is mounted at {path}: {there.source}"
    return _make(look, "mount.other", what, Remedy(command, Risk.RESTART, steps, works_now=True))


def _find_stopped(look: _Look) -> Cause | None:
    """Return the cause of an automount that does not run. While its mount stays, it cannot be started."""
    if look.automount.active == "active":
        return None
    auto_name, mount_name = look.names
    path = look.share.path
    if look.mount.active == "active" or look.there:
        what = f"the automount of {path} was stopped while its mount stayed: once unmounted, it does not come back"
        command = f"systemctl stop {mount_name} && systemctl enable --now {auto_name}"
        steps = (UnitStep(mount_name, UnitState.STOPPED), *look.start)
        return _make(look, "mount.automount", what, Remedy(command, Risk.RESTART, steps, works_now=True))
    failed = look.automount.active == "failed"
    reset = f"systemctl reset-failed {auto_name} && " if failed else ""
    what = f"{path} is not mounted: its automount {'failed' if failed else 'is stopped'}"
    remedy = Remedy(f"{reset}systemctl enable --now {auto_name}", Risk.RESTART, look.start)
    return _make(look, "mount.stopped", what, remedy)


def _find_read_only(look: _Look) -> Cause | None:
    share = look.share
    if look.there is None or not look.there.read_only:
        return None
    if share.writers == "server" or look.host.name in share.read_only:
        return None
    remedy = Remedy(f"mount -o remount,rw {shlex.quote(share.path)}", Risk.NONE, (RemountStep(share.path),))
    return _make(look, "mount.read_only", f"{share.path} was mounted again read-only", remedy)


def _find_failed(look: _Look) -> Cause | None:
    way = look.evidence.way
    if look.mount.active != "failed" or way is None or way.nfs != OPEN:
        return None
    auto_name, mount_name = look.names
    command = f"systemctl reset-failed {mount_name} && systemctl restart {auto_name}"
    what = f"the mount of {look.share.path} failed, and the storage server answers"
    remedy = Remedy(command, Risk.RESTART, (UnitStep(mount_name, UnitState.STARTED),))
    return _make(look, "mount.failed", what, remedy, more=look.mount.journal[-4:])


def _find_disabled(look: _Look) -> Cause | None:
    if look.automount.enabled != "disabled":
        return None
    what = f"{look.share.path} is mounted, but its automount is disabled: it is not there after a restart"
    remedy = Remedy(f"systemctl enable {look.names[0]}", steps=look.start[:1])
    return _make(look, "mount.disabled", what, remedy, layer=Layer.LATER)


def _make(
    look: _Look, kind: str, what: str, remedy: Remedy, *, layer: Layer = Layer.MOUNT, more: Sequence[str] = ()
) -> Cause:
    shares = frozenset({look.share.name})
    scopes = (
        Scope(frozenset({look.host.name}), ("storage.", "services.", "host.checks"), shares),
        Scope(None, ("storage.shared", "services.comfyui_lists"), shares, look.host.name),
    )
    what = f"{look.host.name}: {what}"
    explains = () if layer is Layer.LATER else scopes
    return Cause(kind, look.host.name, layer, what, [*look.show(), *more], remedy, explains)


def find_marker_causes(case: Case) -> Iterator[Cause]:
    """Yield shares whose marker is missing on the host that has them; the clients cannot see it either."""
    for share in case.shares:
        missing = [check for check in case.failed if _is_missing_marker(check, share.name)]
        owners = [host.name for host in case.hosts.values() if case.stores(host)]
        owner = next((check["host"] for check in missing if check["host"] in owners), "")
        if not owner:
            continue
        command = (
            f"ls -la {shlex.quote(share.path)}: if that is this studio's data, then {case.deploy}, which writes the "
            "marker"
        )
        yield Cause(
            "share.marker",
            owner,
            Layer.DISK,
            f"the marker of {share.path} on {owner} is missing",
            [f"{check['host']}: {check['seen']}" for check in missing],
            Remedy(command, Risk.DATA),
            (Scope(None, ("storage.", "services."), frozenset({share.name})),),
        )


def _is_missing_marker(check: Check, share: str) -> bool:
    return check["check"] == "storage.marker" and check["share"] == share and "no readable marker" in check["seen"]
