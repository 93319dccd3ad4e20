# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the results of the commands below `models`, which are what `--json` prints. Sizes are in bytes."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from noslop_driver.commands.result import RunData, WarmModelData


class ModelResultData(TypedDict):
    """A model as a host reported it: present, fetched or failed. Sizes are in bytes, `received` is over the network."""

    path: str
    state: str
    size: int
    sha256: str
    received: int
    message: str
    free_bytes: NotRequired[int]
    """Bytes that are free on the share; only before a fetch, as is `same_as`, files of it with the same content."""
    same_as: NotRequired[list[str]]


class ModelProgressData(TypedDict):
    """How far a model is: `received` bytes of `size`, with `rate` bytes a second.

    `size` is 0 and `seconds_left` null where that is not clear yet. `state` is waiting, fetching, present, fetched,
    verified or failed.
    """

    path: str
    state: str
    received: int
    size: int
    rate: float
    seconds_left: float | None


class ProgressData(TypedDict):
    """A line of `--json-lines` before the last one, which is the result."""

    progress: list[ModelProgressData]


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


class ModelWarmData(RunData):
    """The result of `models warm`."""

    warm: list[WarmModelData]


class ModelMetricsData(TypedDict):
    """The sums of all runs from this computer, and when each model was last verified (ISO 8601, UTC)."""

    since: str | None
    fetched_bytes: int
    saved_bytes: int
    """Bytes that further hosts did not fetch again."""
    failed: int
    verified: dict[str, str]


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
    """The uses of a model, as `noslop-backend model-uses` lists it; empty where the backend was not asked."""

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
    """The needs of a workflow that a host does not meet. `problem` is why it could not be asked."""

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


class LoadTimesData(TypedDict):
    """How long a host reads a model, in seconds: while nothing of it is in memory, and while all is.

    `kept_bytes` stayed in memory for the first time. `message` is why it could not be read.
    """

    host: str
    path: str
    size: int
    cold_s: float
    warm_s: float
    kept_bytes: int
    message: str


class ModelBenchData(RunData):
    """The result of `models bench`."""

    times: list[LoadTimesData]
