# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the results of commands, which are what `--json` prints, and list the addresses of the services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

from ansible_collections.noslop.studio.plugins.module_utils import studio

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


class DeployData(RunData):
    """The result of `deploy`."""

    plan: JsonObject
    addresses: list[ServiceAddress]


class TeardownData(RunData):
    """The result of `teardown`."""

    kept: list[str]


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


class ModelResultData(TypedDict):
    """A model as a host reported it: present, fetched or failed. Sizes are in bytes, `received` is over the network."""

    path: str
    state: str
    size: int
    sha256: str
    received: int
    message: str


class ModelPullData(RunData):
    """The result of `models pull` and `models stop`."""

    models: list[ModelResultData]
    warm: list[WarmModelData]


class ModelData(TypedDict):
    """A model of the catalogue. `fetched` and what the catalogue does not have are from the last `models pull`."""

    name: str
    source: str
    size: int
    sha256: str
    sha256_is_recorded: bool
    licence: str
    gated: bool
    fetched: bool
    warm_hosts: list[str]
    """The hosts that are to keep it in memory, and those of them that did when a run last looked."""
    warm_on: list[str]


class WarmModelData(TypedDict):
    """What of a model was in the memory of a host. Sizes are in bytes; `read` are those that the run read.

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


class ModelWarmData(RunData):
    """The result of `models warm`."""

    warm: list[WarmModelData]


class ModelMetricsData(TypedDict):
    """The sums of all runs from this computer, and when each model was last verified (ISO 8601, UTC)."""

    since: str | None
    fetched_bytes: int
    saved_bytes: int
    """What further hosts did not fetch again."""
    failed: int
    verified: dict[str, str]


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


class ModelListData(TypedDict):
    """The result of `models list`."""

    inventory: str
    models: list[ModelData]


class ModelDocumentData(TypedDict):
    """A workflow or prompt that names a model."""

    project_id: str
    project: str
    kind: str
    name: str
    versions: list[int]


class ModelUsesData(TypedDict, total=False):
    """What names a model, as `noslop-backend model-uses` lists it; empty where the backend was not asked."""

    name: str
    documents: list[ModelDocumentData]
    media_count: int
    media_projects: list[str]


class TrashedModelData(TypedDict):
    """A model that was moved to the trash, back or out of it for good, or lies there.

    `state` is missing, trashed, restored, removed or in_trash; `size` is in bytes, `removed` ISO 8601 in UTC or empty.
    """

    path: str
    state: str
    size: int
    removed: str
    reason: str
    uses: ModelUsesData


class ModelTrashData(RunData):
    """The result of `models remove`, `models restore` and `models gc`."""

    models: list[TrashedModelData]


class NeededModelData(TypedDict):
    """A model that a workflow needs and a host lacks.

    `state`: `missing`; `not fetched`, while the catalogue has it; `not offered`, though it was fetched. `problem` is
    why it cannot be fetched. What is not known of it is empty.
    """

    name: str
    folder: str
    state: str
    size: int
    sha256: str
    licence: str
    gated: bool
    source: str
    problem: str
    hosts: list[str]
    """The hosts that lack it."""
    elsewhere: dict[str, list[str]]
    """By host, files of that name in another directory or folder."""


class NeededClassData(TypedDict):
    """A node class that a workflow needs and a host lacks, with the pack that has it."""

    name: str
    pack: str
    pack_version: str
    hosts: list[str]


class HostNeedsData(TypedDict):
    """What a host lacks for a workflow. `problem` is why it could not be asked."""

    host: str
    comfyui_version: str
    is_too_old: bool
    models: list[str]
    classes: list[str]
    problem: str


class NeedsData(TypedDict):
    """The result of `models need`; with `--pull`, as it is after the download, whose results are in `fetched`."""

    inventory: str
    workflow: str
    min_version: str
    """The oldest ComfyUI that the template runs on."""
    made_with: str
    """The newest ComfyUI that a node of the workflow was made with."""
    switched_off: int
    models: list[NeededModelData]
    classes: list[NeededClassData]
    hosts: list[HostNeedsData]
    fetched: list[ModelResultData]


class SearchResultData(TypedDict):
    """A model that a search returned. `source` is what `models add` accepts. What is not known of it is empty."""

    where: str
    """catalogue, templates, hub or marketplace."""
    name: str
    folder: str
    size: int
    sha256: str
    licence: str
    gated: bool
    source: str
    about: str
    catalogue: str
    """The name under which the catalogue has it."""
    fetched: bool


class SearchData(TypedDict):
    """The result of `models search`. `problems` are of the sources that did not answer, by their name."""

    inventory: str
    models: list[SearchResultData]
    problems: dict[str, str]


class DuplicateData(TypedDict):
    """A file with the content of another one: shared or linked with it, or apart, with the reason. Size in bytes."""

    share: str
    path: str
    same_as: str
    sha256: str
    size: int
    state: str
    message: str


class SkippedModelData(TypedDict):
    """A file that was not compared, and the reason."""

    share: str
    path: str
    message: str


class DedupeData(RunData):
    """The result of `models dedupe`. `bytes_apart` are those of the copies that were not joined."""

    duplicates: list[DuplicateData]
    skipped: list[SkippedModelData]
    bytes_before: int
    bytes_after: int
    bytes_apart: int


class AdoptedModelData(TypedDict):
    """A model that lies on a host: new, present on the share as `target`, or left, with the reason. Size in bytes."""

    path: str
    size: int
    sha256: str
    version: str
    state: str
    target: str
    listed: bool
    message: str


class AdoptData(RunData):
    """The result of `models adopt`. Bytes are those on the disks; `added` are the new entries of the catalogue."""

    offered: list[AdoptedModelData]
    ollama: list[str]
    models: list[ModelResultData]
    added: list[dict[str, object]]
    host_bytes_before: int
    host_bytes_after: int
    share_bytes_before: int
    share_bytes_after: int


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


class StatusData(TypedDict):
    """The result of `status`."""

    inventory: str
    hosts: list[MemberData]
    addresses: list[ServiceAddress]
    last_deployment: OutcomeData | None
    last_teardown: OutcomeData | None
    last_verification: OutcomeData | None
    nodes_left_out: dict[str, dict[str, str]]
    """Custom nodes that the last verification found left out, by host and name, with the reason."""
    edited: list[str]
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
