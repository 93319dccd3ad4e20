# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe a studio whose checks failed: its hosts, its shares, the failed checks and the evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check
from ansible_collections.noslop.studio.plugins.module_utils.share.path_rules import make_unit_name

from noslop_driver.diagnosis.evidence import Evidence, Unit, Way

SERVER_GROUP = "storage_server"


@dataclass(frozen=True)
class HostCase:
    """A host of the inventory, with its evidence if it returned any."""

    name: str
    address: str
    user: str
    port: int = 22
    groups: frozenset[str] = frozenset()
    evidence: Evidence | None = None


@dataclass(frozen=True)
class Case:
    """A studio. `deploy` is the command that deploys it."""

    hosts: Mapping[str, HostCase]
    provider: str
    shares: Sequence[studio.Share]
    failed: Sequence[Check] = ()
    deploy: str = "noslop-driver deploy"

    @property
    def server(self) -> HostCase | None:
        """Return the storage server."""
        return next((host for host in self.hosts.values() if SERVER_GROUP in host.groups), None)

    def answered(self) -> Iterator[tuple[HostCase, Evidence]]:
        """Yield each host that returned evidence."""
        for host in self.hosts.values():
            if host.evidence:
                yield host, host.evidence

    def ways(self) -> dict[str, Way]:
        """Return the way to the storage server of each client that returned it."""
        return {host.name: evidence.way for host, evidence in self.answered() if evidence.way}

    def is_server(self, host: HostCase) -> bool:
        """Return whether a host serves the shares."""
        return SERVER_GROUP in host.groups

    def stores(self, host: HostCase) -> bool:
        """Return whether the shares lie on disks of this host."""
        return self.provider == "local" or (self.provider == "nfs" and self.is_server(host))

    def mounts(self, host: HostCase) -> bool:
        """Return whether NoSlop mounts the shares on this host."""
        return self.provider == "nfs" and not self.is_server(host)

    def service_units(self, host: HostCase) -> dict[str, str]:
        """Return the units of the services of a host, by the service's name."""
        return {name: service.unit for name, service in studio.SERVICES.items() if name in host.groups}

    def share_units(self, share: studio.Share, evidence: Evidence) -> tuple[Unit | None, Unit | None]:
        """Return the automount and the mount of a share, as far as there is evidence of them."""
        names = (make_unit_name(share.path, kind) for kind in ("automount", "mount"))
        automount, mount = (evidence.units.get(name) for name in names)
        return automount, mount

    def failures(self, host: str, *names: str) -> list[Check]:
        """Return the failed checks of a host whose names begin with one of these words."""
        return [check for check in self.failed if check["host"] == host and check["check"].startswith(names)]
