# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the driver's models: candidates, hosts, settings, the plan and its problems.

Each can be written as JSON and read back. Names of sizes end with their unit. Every model is immutable:
`StudioSettings.replace` returns new settings, which it validates.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host.addresses import parse_network
from ansible_collections.noslop.studio.plugins.plugin_utils import releases
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.scan_targets import SSH_PORT
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import (
    custom_nodes,
    model_cache,
    models,
    smb,
    webhook,
)
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from noslop_driver.choices import NfsTransport, Provider, Role, ServiceRole, SmbEncryption, Writers

CandidateStatus = Literal["open", "closed", "timeout", "no_route", "refused", "error"]
"""open: an SSH server answered. closed: the host answered, and nothing listens on the port. timeout: no answer.
no_route: the network reported that the host cannot be reached. refused: a server accepted the connection and closed it,
or does not speak SSH. error: this computer could not try (a name does not resolve, a local rule forbids it)."""


class Model(BaseModel):
    """An immutable model that rejects unknown fields, so that a typing mistake in a file is reported."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(Model):
    """A problem or a note for the user before anything is changed, and the next step."""

    host: str | None = None
    what: str
    todo: str
    fatal: bool = True
    kind: str = ""
    """A constant identifier for programs that read the JSON, such as `no_room` or `sudo_refused`."""


class SshOptions(Model):
    """Options of ssh for a host, besides address, port and account, as `ssh -G` printed them for its name."""

    identity_files: list[str] = Field(default_factory=list)
    """Private keys; none: the default ones of ssh."""
    identities_only: bool = False
    proxy_jump: str = ""
    """The jump hosts, as ssh_config(5) writes them; empty for none."""
    proxy_command: str = ""

    @property
    def proxy(self) -> str:
        """Return what stands between this computer and the host; empty if nothing does."""
        return self.proxy_jump or self.proxy_command


class Endpoint(Model):
    """The SSH server of a host, and the host's name in the inventory."""

    name: str
    address: str
    port: int = Field(default=SSH_PORT, ge=1, le=65535)
    user: str = ""
    """The account to log in with, if this host has one of its own."""
    ssh: SshOptions = Field(default_factory=SshOptions)


class Candidate(Model):
    """A machine of a discovery: its SSH banner and key, or the reason why it has none."""

    address: str
    port: int = Field(default=SSH_PORT, ge=1, le=65535)
    hostname: str | None = None
    """The name that the user gave for it, if they gave one."""
    announced: str = ""
    """The name that was announced for its address by mDNS, if any: any machine can announce it, so it is only shown."""
    banner: str | None = None
    host_key: str | None = None
    """Fingerprint as `ssh-keygen -l` prints it: `SHA256:...`. The ed25519 key's, where the host has one."""
    host_keys: list[str] = Field(default_factory=list)
    """The public keys, each `<type> <base64>`: with an address in front, a line of known_hosts."""
    addresses: list[str] = Field(default_factory=list)
    """Every address that showed the same host key, `address` among them."""
    named: bool = False
    """True if the user named this host (not only a network that it is in): then its failure is fatal."""
    origin: str = ""
    """The source that lists this host, where the user named only that: ssh-config, known-hosts or an inventory."""
    user: str = ""
    """The account to log in with, if the user or their ~/.ssh/config names one for this host."""
    ssh: SshOptions = Field(default_factory=SshOptions)
    status: CandidateStatus
    detail: str = ""
    todo: str = ""


class Gpu(Model):
    """A graphics processor."""

    vendor: str
    name: str
    memory_mib: int | None = Field(default=None, ge=0)
    driver: str | None = None
    capability: str | None = None
    """The compute capability of a card of NVIDIA, where it is known."""
    usable: bool
    why: str = ""
    """The reason why the services cannot use it; empty if they can."""


class Disk(Model):
    """A mounted file system."""

    mount: str
    size_bytes: int = Field(ge=0)
    free_bytes: int = Field(ge=0)
    fstype: str


class Host(Model):
    """A machine with its facts. None: the fact is missing."""

    name: str
    """The name in the inventory: unique, and not the name of a group."""
    address: str
    port: int = Field(default=SSH_PORT, ge=1, le=65535)
    user: str
    ssh: SshOptions = Field(default_factory=SshOptions)
    os: str = ""
    os_version: str = ""
    kernel: str = ""
    arch: str = ""
    """The architecture as the kernel reports it: x86_64, aarch64."""
    service_manager: str = ""
    cpus: int | None = Field(default=None, ge=0)
    memory_mib: int | None = Field(default=None, ge=0)
    gpus: list[Gpu] = Field(default_factory=list)
    disks: list[Disk] = Field(default_factory=list)
    machine_id: str = ""
    addresses: list[str] = Field(default_factory=list)
    """The host's own addresses."""
    host_key: str | None = None
    named: bool = False
    """True if the user named this host: then a problem that excludes it is fatal."""

    @property
    def gpu_memory_mib(self) -> int:
        """Return the sum of the memory of the usable cards."""
        return sum(gpu.memory_mib or 0 for gpu in self.gpus if gpu.usable)


class Proposal(Model):
    """The roles that are proposed for one host, and the reasons."""

    host: str
    score: int = Field(ge=0, le=100)
    roles: list[Role]
    reasons: list[str]


class StudioSettings(Model):
    """The settings of a studio. The defaults are the collection's.

    A directory that is None lies below the root; `shares` returns its path, which the collection derives.
    """

    studio_id: str = Field(min_length=1)
    storage_root: str = studio.DEFAULTS["noslop_storage_root"]
    ollama_models_dir: str | None = None
    comfyui_models_dir: str | None = None
    comfyui_custom_nodes_dir: str | None = None
    project_storage_dir: str | None = None
    media_cache_dir: str | None = None
    storage_provider: Provider = studio.DEFAULTS["noslop_storage_provider"]
    nfs_transport: NfsTransport = studio.DEFAULTS["noslop_nfs_transport"]
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
    extra_shares: list[dict[str, Any]] = Field(default_factory=list)
    allowed_networks: list[str] = Field(default_factory=list)
    custom_nodes: list[dict[str, str | bool | list[str]]] = Field(default_factory=list)
    models: list[dict[str, Any]] = Field(default_factory=list)
    models_tokens: dict[str, str] = Field(default_factory=dict)
    models_rate_mb: float = Field(default=studio.DEFAULTS["noslop_models_rate_mb"], ge=0)
    models_hub: str = studio.DEFAULTS["noslop_models_hub"]
    models_market: str = studio.DEFAULTS["noslop_models_market"]
    models_warm_memory_percent: float = Field(
        default=studio.DEFAULTS["noslop_models_warm_memory_percent"], ge=0, le=100
    )
    models_daily_gb: float = Field(default=studio.DEFAULTS["noslop_models_daily_gb"], ge=0)
    models_cache: dict[str, Any] = Field(default_factory=dict)
    monitor_enabled: bool = studio.DEFAULTS["noslop_monitor_enabled"]
    monitor_textfile_directory: str = studio.DEFAULTS["noslop_monitor_textfile_directory"]
    monitor_webhook: dict[str, str] = Field(default_factory=dict)
    artifact_mirror: str = studio.DEFAULTS["noslop_artifact_mirror"]
    comfyui_version: str = studio.DEFAULTS["noslop_comfyui_version"]
    ollama_version: str = studio.DEFAULTS["noslop_ollama_version"]
    firewall_enabled: bool = studio.DEFAULTS["noslop_firewall_enabled"]
    announce: bool = studio.DEFAULTS["noslop_announce"]
    smb_enabled: bool = studio.DEFAULTS["noslop_smb_enabled"]
    smb_users: list[dict[str, str]] = Field(default_factory=list)
    smb_networks: list[str] = Field(default_factory=list)
    smb_encryption: SmbEncryption = studio.DEFAULTS["noslop_smb_encryption"]
    smb_models_writable: bool = studio.DEFAULTS["noslop_smb_models_writable"]
    smb_discovery: bool = studio.DEFAULTS["noslop_smb_discovery"]
    server: str | None = None
    """The name of the storage server; None: the plan proposes one."""
    roles: dict[str, list[ServiceRole]] = Field(default_factory=dict)
    """The services of each host, [] for none; for other hosts the plan proposes them."""

    @field_validator("allowed_networks", "smb_networks")
    @classmethod
    def _normalize_networks(cls, values: list[str]) -> list[str]:
        """Return addresses and networks in canonical form; `192.168.1.7/24` becomes its network."""
        return [_normalize_network(value) for value in values]

    @field_validator("comfyui_version", "ollama_version")
    @classmethod
    def _normalize_version(cls, value: str, info: ValidationInfo) -> str:
        """Return a version as the roles install it; ComfyUI's `0.33.0` becomes its tag, `v0.33.0`."""
        return releases.PARSERS[str(info.field_name).removesuffix("_version")](value)

    @field_validator("custom_nodes")
    @classmethod
    def _check_custom_nodes(
        cls, values: list[dict[str, str | bool | list[str]]]
    ) -> list[dict[str, str | bool | list[str]]]:
        custom_nodes.parse_custom_nodes(values)  # raises ValueError with the entry and the next step
        return values

    @field_validator("smb_users", mode="before")
    @classmethod
    def _check_smb_users(cls, values: object) -> object:
        # Before the types are checked: an error about a type would show the value, which may be a password.
        smb.parse_smb_users(values)  # raises ValueError with the entry and the next step
        return values

    @field_validator("models")
    @classmethod
    def _check_models(cls, values: list[dict[str, Any]]) -> list[dict[str, Any]]:
        models.parse_models(values)  # raises ValueError with the entry and the next step
        return values

    @field_validator("monitor_webhook")
    @classmethod
    def _check_webhook(cls, value: dict[str, str]) -> dict[str, str]:
        webhook.parse_webhook(value)  # raises ValueError with the next step
        return value

    @model_validator(mode="after")
    def _check_paths_and_accounts(self) -> Self:
        # All raise ValueError with the variable's name and the next step.
        shares = studio.shares(self.variables())
        studio.accounts(self.variables())
        model_cache.parse(self.models_cache, (self.storage_root, *(share.path for share in shares)))
        return self

    def variables(self) -> dict[str, Any]:
        """Return the settings under the names of `group_vars/all/studio.yml`."""
        return {name: getattr(self, name.removeprefix("noslop_")) for name in studio.DEFAULTS}

    def shares(self) -> list[studio.Share]:
        """Return the studio's shared directories, each with its absolute path."""
        return studio.shares(self.variables())

    def replace(self, **changes: object) -> Self:
        """Return a copy with `changes`, validated (`model_copy` would not validate)."""
        return type(self).model_validate({**self.model_dump(), **changes})


class Plan(Model):
    """The roles of the hosts with their reasons, the settings of the studio, and every problem."""

    model_config = ConfigDict(serialize_by_alias=True)

    hosts: list[Host]
    proposals: list[Proposal]
    server: str | None
    """None only if there is no host."""
    settings: StudioSettings = Field(
        # The key in records and in the output of `--json`, which programs read.
        serialization_alias="wishes",
        validation_alias=AliasChoices("wishes", "settings"),
    )
    problems: list[Problem]

    @property
    def blocked(self) -> bool:
        """Return whether a problem prevents the deployment of the plan."""
        return any(problem.fatal for problem in self.problems)

    def members(self, role: Role) -> list[Host]:
        """Return the hosts with `role`, in the plan's order."""
        names = {proposal.host for proposal in self.proposals if role in proposal.roles}
        return [host for host in self.hosts if host.name in names]


def _normalize_network(value: str) -> str:
    network = parse_network(value)
    return str(network.network_address) if network.num_addresses == 1 else str(network)
