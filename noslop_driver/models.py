# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the driver's modules hand to each other: candidates, hosts, wishes, the plan and its problems.

All of it is data that can be written as JSON and read back. Sizes carry their unit in the name. Every model is
immutable: a changed wish is a new `Wishes`, made (and validated) by `Wishes.changed`.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Literal, Self

from ansible_collections.noslop.studio.plugins.module_utils import studio
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

CandidateStatus = Literal["open", "closed", "timeout", "no_route", "refused", "error"]
"""open: an SSH server answered. closed: the host is there, nothing listens on the port. timeout: no answer at all.
no_route: the network said it cannot be reached. refused: something took the connection and hung up, or speaks no
SSH. error: this computer could not even try (a name that does not resolve, a local rule that forbids it)."""

Provider = Literal["nfs", "local", "existing"]
Writers = Literal["server", "members"]
ServiceRole = Literal["ollama", "comfyui", "backend"]
Role = Literal["storage_server", "storage_clients", "ollama", "comfyui", "backend"]
"""The groups of a studio's inventory; see "Who does what" in the design."""


class Model(BaseModel):
    """Immutable, and refuses names it does not know: a typing mistake in a file is found, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(Model):
    """Something a person has to know before anything is changed, and what to do about it."""

    host: str | None = None
    what: str
    todo: str
    fatal: bool = True
    kind: str = ""
    """A short constant word for programs that read the JSON, such as `no_room` or `sudo_refused`."""


class Candidate(Model):
    """One machine that was looked for: found with its SSH banner and key, or the reason why not."""

    address: str
    port: int = Field(default=22, ge=1, le=65535)
    hostname: str | None = None
    """The name the user gave for it, if he gave one."""
    banner: str | None = None
    host_key: str | None = None
    """Fingerprint as `ssh-keygen -l` prints it: `SHA256:...`. The ed25519 key's, where the host has one."""
    host_keys: list[str] = Field(default_factory=list)
    """The public keys, each `<type> <base64>`: with an address in front, a line of known_hosts."""
    addresses: list[str] = Field(default_factory=list)
    """Every address that showed the same host key, `address` among them."""
    named: bool = False
    """The user asked for this very host (not for a network it lies in): if it fails, that is a failure."""
    status: CandidateStatus
    detail: str = ""
    todo: str = ""


class Gpu(Model):
    """A graphics processor, and whether the services can use it."""

    vendor: str
    name: str
    memory_mib: int | None = Field(default=None, ge=0)
    driver: str | None = None
    usable: bool
    why: str = ""
    """Why it cannot be used; empty when it can."""


class Disk(Model):
    """A mounted file system."""

    mount: str
    size_bytes: int = Field(ge=0)
    free_bytes: int = Field(ge=0)
    fstype: str


class Host(Model):
    """A machine that let us in, as it described itself. None: it did not say."""

    name: str
    """Its name in the inventory: unique, and no group's name."""
    address: str
    port: int = Field(default=22, ge=1, le=65535)
    user: str
    os: str = ""
    os_version: str = ""
    kernel: str = ""
    arch: str = ""
    """As the kernel says it: x86_64, aarch64."""
    service_manager: str = ""
    cpus: int | None = Field(default=None, ge=0)
    memory_mib: int | None = Field(default=None, ge=0)
    gpus: list[Gpu] = Field(default_factory=list)
    disks: list[Disk] = Field(default_factory=list)
    machine_id: str = ""
    addresses: list[str] = Field(default_factory=list)
    """The addresses the host itself says it has."""
    host_key: str | None = None
    named: bool = False
    """The user asked for this very host: if it cannot take part, that stops the plan."""

    @property
    def gpu_memory_mib(self) -> int:
        """Memory of the cards that can be used, added up."""
        return sum(gpu.memory_mib or 0 for gpu in self.gpus if gpu.usable)


class Proposal(Model):
    """What one host is to do, and why."""

    host: str
    score: int = Field(ge=0, le=100)
    roles: list[Role]
    reasons: list[str]


class Wishes(Model):
    """What the user wants of the studio. Where he said nothing, the collection's own defaults hold.

    A directory that is None lies below the root; `shares` tells where. The collection derives it, not the driver.
    """

    studio_id: str = Field(min_length=1)
    storage_root: str = studio.DEFAULTS["noslop_storage_root"]
    ollama_models_dir: str | None = None
    comfyui_models_dir: str | None = None
    comfyui_custom_nodes_dir: str | None = None
    project_storage_dir: str | None = None
    media_cache_dir: str | None = None
    storage_provider: Provider = studio.DEFAULTS["noslop_storage_provider"]
    min_free_gb: float = Field(default=studio.DEFAULTS["noslop_min_free_gb"], ge=0)
    require_own_file_system: bool = studio.DEFAULTS["noslop_require_own_file_system"]
    uid: int = Field(default=studio.DEFAULTS["noslop_uid"], ge=1)
    gid: int = Field(default=studio.DEFAULTS["noslop_gid"], ge=1)
    models_id: int = Field(default=studio.DEFAULTS["noslop_models_id"], ge=1)
    nodes_id: int = Field(default=studio.DEFAULTS["noslop_nodes_id"], ge=1)
    ollama_id: int = Field(default=studio.DEFAULTS["noslop_ollama_id"], ge=1)
    comfyui_id: int = Field(default=studio.DEFAULTS["noslop_comfyui_id"], ge=1)
    backend_id: int = Field(default=studio.DEFAULTS["noslop_backend_id"], ge=1)
    build_id: int = Field(default=studio.DEFAULTS["noslop_build_id"], ge=1)
    users: list[str] = Field(default_factory=list)
    custom_nodes_writers: Writers = studio.DEFAULTS["noslop_custom_nodes_writers"]
    models_writers: Writers = studio.DEFAULTS["noslop_models_writers"]
    allowed_networks: list[str] = Field(default_factory=list)
    artifact_mirror: str = studio.DEFAULTS["noslop_artifact_mirror"]
    firewall_enabled: bool = studio.DEFAULTS["noslop_firewall_enabled"]
    server: str | None = None
    """Name of the host that is to be the storage server; None: the plan proposes one."""
    roles: dict[str, list[ServiceRole]] = Field(default_factory=dict)
    """Host name to exactly the services it is to run ([] for none); a host that is not here gets the proposal's."""

    @field_validator("allowed_networks")
    @classmethod
    def _networks(cls, values: list[str]) -> list[str]:
        """Accept `192.168.1.7`, `192.168.1.0/24` and `192.168.1.7/24` (its network); keep the canonical text."""
        return [_network(value) for value in values]

    @model_validator(mode="after")
    def _paths_and_numbers(self) -> Self:
        # Both raise ValueError with the variable's name and what to do.
        studio.shares(self.variables())
        studio.accounts(self.variables())
        return self

    def variables(self) -> dict[str, Any]:
        """The wishes under the names of `group_vars/all/studio.yml`."""
        return {name: getattr(self, name.removeprefix("noslop_")) for name in studio.DEFAULTS}

    def shares(self) -> list[studio.Share]:
        """The studio's directories, each with its absolute path."""
        return studio.shares(self.variables())

    def changed(self, **changes: object) -> Self:
        """The same wishes but for `changes`, validated again (`model_copy` would not)."""
        return type(self).model_validate({**self.model_dump(), **changes})


class Plan(Model):
    """Who does what and why, with the wishes it was made from and every problem that was seen."""

    hosts: list[Host]
    proposals: list[Proposal]
    server: str | None
    """None only when there is no host at all."""
    wishes: Wishes
    problems: list[Problem]

    @property
    def blocked(self) -> bool:
        """True when a problem stands in the way of deploying it."""
        return any(problem.fatal for problem in self.problems)

    def members(self, role: Role) -> list[Host]:
        """The hosts that have `role`, in the plan's order."""
        names = {proposal.host for proposal in self.proposals if role in proposal.roles}
        return [host for host in self.hosts if host.name in names]


def _network(value: str) -> str:
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise ValueError(f"{value!r} is no address and no network. Write it like 192.168.1.0/24.") from error
    return str(network.network_address) if network.num_addresses == 1 else str(network)
