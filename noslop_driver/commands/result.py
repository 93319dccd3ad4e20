# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the results of commands, which are what `--json` prints, and list the addresses of the services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from ansible_collections.noslop.studio.plugins.module_utils import studio

from noslop_driver.commands.look_result import HostNowData
from noslop_driver.commands.smb_access import SmbAddress
from noslop_driver.errors import ExitCode
from noslop_driver.inventory.directory import Member
from noslop_driver.inventory.node_lists import NodeEntry
from noslop_driver.phases import Report

JsonObject = Mapping[str, object]
"""A model as `model_dump(mode="json")` returns it: noslop_driver.models has its keys."""


@dataclass(frozen=True)
class CommandResult:
    """The result of a command."""

    code: ExitCode
    data: JsonObject
    """The result for `--json`: one of the types of this module."""
    message: str = ""
    """The error, for standard error; empty for none."""


class ServiceAddress(TypedDict):
    """The address of a service on one host."""

    service: str
    host: str
    url: str


class SshKeyData(TypedDict):
    """The result of `ssh-setup` on one host."""

    host: str
    address: str
    user: str
    state: str
    """added, present, removed, absent, or failed."""
    reason: str
    """Why it failed, and the next step; empty if it did not."""


class SshSetupData(TypedDict):
    """The result of `ssh-setup`."""

    key: str
    """The path of the private key."""
    fingerprint: str
    hosts: Sequence[SshKeyData]


class PlanData(TypedDict):
    """The result of `plan`."""

    plan: JsonObject
    inventory: str | None
    """The directory of the studio, if the plan was to be written."""


class BlockedPlanData(TypedDict):
    """The result of a `deploy` whose plan was blocked."""

    plan: JsonObject


class HostStatsData(TypedDict):
    """Numbers of tasks on one host, by the way they ended."""

    ok: int
    changed: int
    failed: int
    unreachable: int
    skipped: int
    rescued: int
    ignored: int


class FailureData(TypedDict):
    """A task that failed on a host."""

    host: str
    task: str
    message: str
    unreachable: bool
    path: str


class PhaseData(TypedDict):
    """The result of one phase."""

    phase: str
    status: str
    changed: int
    seconds: float
    hosts: dict[str, HostStatsData]
    failures: list[FailureData]


class RunData(TypedDict):
    """The result of `verify`, and of every run of phases."""

    inventory: str
    phases: list[PhaseData]
    verification: Report | None
    record: str | None
    """The directory of the record."""
    left_out: dict[str, str]
    """Hosts that did not answer and were left out, each with the reason."""


class DriftData(TypedDict):
    """A check of a host that did not pass in the look before a deployment."""

    host: str
    check: str
    share: str
    observed: str


class LookData(TypedDict):
    """One look at every host before a deployment, and what followed from it."""

    need: str
    """nothing, drift or everything."""
    reason: str
    hosts: list[str]
    checks: int
    """The number of checks on all hosts together."""
    drift: list[DriftData]
    seconds: float


class DeployData(RunData):
    """The result of `deploy`."""

    plan: JsonObject | None
    """None where every host was as the inventory says, so that no plan was made."""
    look: LookData | None
    """None where everything was to be done in any case, such as with `--full` or new hosts."""
    addresses: list[ServiceAddress]
    smb_addresses: list[SmbAddress]
    """The shares for Windows and macOS; none where the studio does not serve SMB."""


class TeardownData(RunData):
    """The result of `teardown`."""

    kept: list[str]


class HostAddData(RunData):
    """The result of `host add`: a run, the plan of the studio, and the names of the new hosts."""

    plan: JsonObject
    added: list[str]


class HostRemoveData(RunData):
    """The result of `host remove`: a run on the host and on the others. `kept` is what stays on the host."""

    host: str
    kept: list[str]


class HostReplaceData(RunData):
    """The result of `host replace`: a run on the old machine, the new one and the other hosts."""

    host: str
    old_address: str
    address: str


class HostDrainData(RunData):
    """The result of `host drain`. `services` are those that were stopped, or started again with `--undo`."""

    host: str
    services: list[str]


class HostMoveStorageData(RunData):
    """The result of `host move-storage`: the copy and the switch, and the deployment that follows."""

    old_server: str | None
    """None where the inventory names the new one already, and the rest of a move was done."""
    server: str
    switched: bool
    """True if the inventory names the new server now."""
    kept: dict[str, list[str]]
    """The directories with what the old server has kept, by host."""


class VersionData(TypedDict):
    """A service on a host, with the version that runs and the one that it is to have. Empty: not installed."""

    host: str
    service: str
    runs: str
    wanted: str


class UpgradeData(RunData):
    """The result of `upgrade`. `versions` are those before."""

    versions: list[VersionData]


class NodeChangeData(RunData):
    """The result of `nodes add`, `remove` and `rollback`: a run, and the list with the change."""

    custom_nodes: list[NodeEntry]


class NodeData(TypedDict):
    """A custom node of the studio's list. `runs_on` and `left_out` (host and reason) are from the last verification."""

    name: str
    source: str
    revision: str
    hosts: list[str]
    runs_on: list[str]
    left_out: dict[str, str]


class OtherNodeData(TypedDict):
    """A custom node on the share that NoSlop did not install. What is not known of it is empty."""

    name: str
    repo: str
    commit: str
    version: str


class NodeListData(TypedDict):
    """The result of `nodes list`. `others` are from the last verification."""

    inventory: str
    nodes: list[NodeData]
    others: list[OtherNodeData]


class MemberData(TypedDict):
    """A host of the studio, in the result of `status`."""

    name: str
    address: str
    groups: list[str]


class OutcomeData(TypedDict):
    """The last deployment, teardown or verification, in the result of `status`."""

    ok: bool | None
    exit_code: NotRequired[int | None]
    message: str | None
    started: NotRequired[str | None]
    finished: str | None
    record: str


class WarmModelData(TypedDict):
    """A model and its bytes in the memory of a host. Sizes are in bytes; `read` are those that the run read.

    `state` is warm, partly, cold, no_room, missing or failed.
    """

    host: str
    path: str
    state: str
    size: int
    resident: int
    read: int
    message: str
    measured: str
    """When, ISO 8601, UTC."""


class ModelStatusData(TypedDict):
    """The models, in the result of `status`: those of the catalogue, and the sums of ModelMetricsData."""

    catalogue: int
    problem: str
    """Why the catalogue cannot be read; empty if it can."""
    on_share: int
    size: int
    fetched_bytes: int
    saved_bytes: int
    failed: int
    since: str | None
    verified: int
    """Models of the catalogue that `models verify` compared."""
    verified_since: str | None
    """When the one was compared that was not compared for longest."""
    daily_check: str
    """The result of the daily check, from the last verification."""
    warm: list[WarmModelData]


class BadCheckData(TypedDict):
    """A check that failed on a host, since when, and what was observed."""

    check: str
    share: str
    since: str | None
    observed: str


class HostMonitorData(TypedDict):
    """The own checks of a host at the last verification. `checked` is when they ended; None where there were none."""

    checked: str | None
    phase: str
    """`starting` or `deploying` where failures counted for nothing; else empty."""
    bad: list[BadCheckData]


class RemovedMachineData(TypedDict):
    """A machine that was removed from the studio, and is refused. `removed` is when, ISO 8601, UTC."""

    name: str
    address: str
    removed: str


class StatusData(TypedDict):
    """The result of `status`. `now` has every host, and is empty with `--cached`."""

    inventory: str
    hosts: list[MemberData]
    now: list[HostNowData]
    noslop_version: str | None
    """The version of the driver that made the last deployment."""
    addresses: list[ServiceAddress]
    last_deployment: OutcomeData | None
    last_teardown: OutcomeData | None
    last_verification: OutcomeData | None
    nodes_left_out: dict[str, dict[str, str]]
    """Custom nodes that the last verification found left out, by host and name, with the reason."""
    monitors: dict[str, HostMonitorData]
    """The own checks of each host at the last verification."""
    edited: list[str]
    removed_machines: list[RemovedMachineData]
    models: ModelStatusData


def list_service_addresses(members: Sequence[Member]) -> list[ServiceAddress]:
    """Return the address of each service of the studio."""
    addresses: list[ServiceAddress] = []
    # A service and the group of its hosts have the same name.
    for group, service in studio.SERVICES.items():
        for member in members:
            if group in member.groups:
                address = member.studio_address
                netloc = f"[{address}]" if ":" in address else address
                url = f"http://{netloc}:{member.variables.get(service.port_variable, service.port)}"
                addresses.append({"service": group, "host": member.name, "url": url})
    return addresses
