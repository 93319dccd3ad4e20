# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define a studio's shares, accounts, services, variables and constants, each in this one place.

The roles read it through the lookup ``noslop.studio.studio``; the driver and the modules import it.
Functions take ``variables``, values by name of the variable; absent, empty and ``None`` mean the default.
"""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.share import extra_shares

STORAGE_ROOT = "/mnt/noslop"
MARKER = ".noslop-share"  # the file in each share that says to which studio it belongs
#: Directories of a host: settings, installed programs, the services' state, and the mounts' units. The last is not
#: /etc/systemd/system, so that `systemctl mask` and `systemctl edit` work on these units as on a package's.
SETTINGS_DIR = "/etc/noslop"
BACKEND_COMMAND = "/usr/local/bin/noslop-backend"
PROGRAMS_DIR = "/opt/noslop"
STATE_DIR = "/var/lib/noslop"
#: The custom nodes that failed in their trial on this host, which verification reads.
NODE_TRIAL_FILE = f"{STATE_DIR}/comfyui-nodes.json"
UNITS_DIR = "/usr/local/lib/systemd/system"
#: The folders of models that ComfyUI itself has (folder_paths.py, and one of an earlier version).
MODEL_FOLDERS = [
    *("audio_encoders", "background_removal", "checkpoints", "classifiers", "clip", "clip_vision", "configs"),
    *("controlnet", "detection", "diffusers", "diffusion_models", "embeddings", "frame_interpolation"),
    *("geometry_estimation", "gligen", "hypernetworks", "latent_upscale_models", "loras", "model_patches"),
    *("optical_flow", "photomaker", "style_models", "t2i_adapter", "text_encoders", "unet", "upscale_models"),
    *("vae", "vae_approx"),
]

NFS_PORT = 2049  # the only one of NFSv4 (RFC 7530, section 3.1)
NFS_SERVER_UNIT = "nfs-server.service"
#: 15 MiB in KiB. With the kernel's 128, models that are read through a memory map came at 9 instead of 62 MB/s.
READ_AHEAD_KB = 15360
#: Of NFSv3. NFSv4 does not need them, and they would listen on the network.
NFS_HELPER_UNITS = ["rpcbind.socket", "rpcbind.service", "rpc-statd.service"]
EXPORTS_FILE = "/etc/exports.d/noslop.exports"
#: How NFS is transported, with the clients that an export accepts then (exports(5), ``xprtsec=``): those without TLS,
#: those with TLS, and those with TLS and a certificate.
NFS_TRANSPORTS = {"plain": ("none", "tls", "mtls"), "tls": ("tls", "mtls"), "mtls": ("mtls",)}
#: Makes the kernel's TLS handshakes (tlshd(8)), by the certificates and the settings in this directory.
TLSHD_UNIT = "tlshd.service"
TLS_DIR = f"{SETTINGS_DIR}/nfs-tls"
#: The server for Windows and macOS has a unit and a configuration of its own beside those of Debian's package. It
#: listens on the one port of SMB over TCP; those of NetBIOS (137 to 139) stay closed. Windows finds it by wsdd's two.
SMB_UNIT = "noslop-smb.service"
SMB_CONF_FILE = f"{SETTINGS_DIR}/smb.conf"
SMB_STATE_DIR = f"{STATE_DIR}/smb"
SMB_GROUP = "noslop-smb"
SMB_PORT = 445
SMB_DISCOVERY_PORTS = (3702, 5357)
#: How it encrypts, by what a studio chooses (smb.conf(5), ``server smb encrypt``).
SMB_ENCRYPTION = {"offered": "desired", "required": "required"}
#: Announces services by multicast DNS (RFC 6762), each by a file in this directory (avahi.service(5)).
MDNS_PORT = 5353
AVAHI_UNIT = "avahi-daemon.service"
AVAHI_DIRECTORY = "/etc/avahi/services"
FIREWALL_UNIT = "noslop-firewall.service"
FIREWALL_FILE = f"{SETTINGS_DIR}/firewall.nft"
#: The paths of the studio, for shell and systemd; the backend's settings; and files of secrets that only root reads.
NODE_ENV_FILE = f"{SETTINGS_DIR}/node.env"
BACKEND_ENV_FILE = f"{SETTINGS_DIR}/backend.env"
CREDENTIALS_DIR = f"{SETTINGS_DIR}/credentials"
BUILD_ACCOUNT = "noslop-build"  # fetches, resolves and builds what the services run

PROVIDERS = ("nfs", "local", "existing")
WRITERS = ("server", "members")


@dataclass(frozen=True)
class Account:
    """One account of a studio: a user and a group of the same name and number on every host."""

    name: str
    variable: str
    number: int


#: An account that an export squashes to owns nothing outside its share, because a member with a hostile root can forge
#: file handles. A service with state of its own therefore has another account than any export.
ACCOUNTS: dict[str, Account] = {
    account.name: account
    for account in (
        Account("noslop", "noslop_uid", 2600),
        Account("noslop-models", "noslop_models_id", 2601),
        Account("noslop-nodes", "noslop_nodes_id", 2602),
        Account("noslop-ollama", "noslop_ollama_id", 2603),
        Account("noslop-comfyui", "noslop_comfyui_id", 2604),
        Account("noslop-backend", "noslop_backend_id", 2605),
        Account(BUILD_ACCOUNT, "noslop_build_id", 2606),
    )
}

#: The account whose group is that of the people, and the variable of that group's number, the only separate one.
PEOPLE = "noslop"
PEOPLE_GROUP_VARIABLE = "noslop_gid"

#: Groups that the people of ``noslop_users`` are members of.
PEOPLE_GROUPS = ("noslop", "noslop-models", "noslop-nodes", "noslop-comfyui")

#: Accounts that are members of groups besides their own.
EXTRA_GROUPS: dict[str, tuple[str, ...]] = {"noslop-backend": ("noslop",)}

#: What a role reads with ``lookup('noslop.studio.studio', 'constant', NAME)``, with the name in small letters.
CONSTANTS: dict[str, Any] = {
    name.lower(): globals()[name]
    for name in (
        *(
            "AVAHI_DIRECTORY",
            "AVAHI_UNIT",
            "BACKEND_COMMAND",
            "BACKEND_ENV_FILE",
            "BUILD_ACCOUNT",
            "CREDENTIALS_DIR",
            "EXPORTS_FILE",
            "FIREWALL_FILE",
            "FIREWALL_UNIT",
        ),
        *(
            "MARKER",
            "MDNS_PORT",
            "MODEL_FOLDERS",
            "NFS_PORT",
            "NFS_SERVER_UNIT",
            "NFS_TRANSPORTS",
            "NODE_ENV_FILE",
            "NODE_TRIAL_FILE",
            "PROGRAMS_DIR",
            "SMB_CONF_FILE",
            "SMB_DISCOVERY_PORTS",
            "SMB_ENCRYPTION",
            "SMB_GROUP",
            "SMB_PORT",
            "SMB_STATE_DIR",
            "SMB_UNIT",
            "STATE_DIR",
            "TLSHD_UNIT",
            "TLS_DIR",
            "UNITS_DIR",
        ),
    )
}


@dataclass(frozen=True)
class Service:
    """A service that listens for other hosts. ``name`` is its group too, ``port_variable`` its role's for ``port``.

    ``title`` is its name in messages.
    """

    name: str
    title: str
    unit: str
    port_variable: str
    port: int
    account: str


#: Each service once. Its role, the firewall, preflight, verification, the NFS client and the driver read it here.
SERVICES: dict[str, Service] = {
    service.name: service
    for service in (
        Service("comfyui", "ComfyUI", "noslop-comfyui.service", "comfyui_port", 8188, "noslop-comfyui"),
        Service("ollama", "Ollama", "noslop-ollama.service", "ollama_port", 11434, "noslop-ollama"),
        Service("backend", "the backend", "noslop-backend.service", "studio_backend_port", 8765, "noslop-backend"),
    )
}


@dataclass(frozen=True)
class AccountNumbers:
    """An account of a studio with its numbers and groups.

    ``groups`` are further groups that it is a member of; ``people`` is true where the studio's people join its group.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[str, ...]
    people: bool


@dataclass(frozen=True)
class Share:
    """One directory that every host of a studio sees under the same path.

    ``kind`` decides how it is mounted: ``models`` are large, read through memory maps and listed by programs that
    compare directory times; ``work`` is written by several hosts and keeps the default attribute cache.
    ``owner`` is the account that owns it, and to which its export squashes. ``writers`` may write over the network:
    ``members``, or ``server`` where it is exported read-only.

    A share beyond the studio's five (:mod:`share.extra_shares`) has ``clients``, the names of the hosts that mount it,
    ``None`` for all; ``read_only``, those that may only read; and further ``options`` of its mounts.
    """

    name: str
    path: str
    kind: str
    env: str
    owner: str
    writers: str
    clients: tuple[str, ...] | None = None
    read_only: tuple[str, ...] = ()
    options: str = ""


@dataclass(frozen=True)
class _ShareDefault:
    variable: str
    below_root: str
    kind: str
    env: str
    owner: str
    writers_variable: str | None = None


_MODELS_WRITERS = "noslop_models_writers"
_SHARES: dict[str, _ShareDefault] = {
    "ollama_models": _ShareDefault(
        "noslop_ollama_models_dir", "ollama/models", "models", "OLLAMA_MODELS_DIR", "noslop-ollama", _MODELS_WRITERS
    ),
    "comfyui_models": _ShareDefault(
        "noslop_comfyui_models_dir", "comfyui/models", "models", "COMFYUI_MODELS_DIR", "noslop-models", _MODELS_WRITERS
    ),
    "comfyui_custom_nodes": _ShareDefault(
        "noslop_comfyui_custom_nodes_dir",
        "comfyui/custom_nodes",
        "models",
        "COMFYUI_CUSTOM_NODES_DIR",
        "noslop-nodes",
        "noslop_custom_nodes_writers",
    ),
    "projects": _ShareDefault("noslop_project_storage_dir", "projects", "work", "PROJECT_STORAGE_DIR", "noslop"),
    "media_cache": _ShareDefault("noslop_media_cache_dir", "media_cache", "work", "MEDIA_CACHE_DIR", "noslop"),
}

#: The default of each variable that decides who may write to a share over the network.
_WRITERS: dict[str, str] = {"noslop_custom_nodes_writers": "server", _MODELS_WRITERS: "members"}

#: Every variable that may be set for a whole studio, with its default. Paths are derived from the root.
DEFAULTS: dict[str, Any] = {
    "noslop_studio_id": None,
    "noslop_storage_root": STORAGE_ROOT,
    **{share.variable: None for share in _SHARES.values()},
    "noslop_storage_provider": "nfs",
    "noslop_nfs_transport": "plain",
    "noslop_min_free_gb": 50,
    "noslop_require_own_file_system": False,
    "noslop_uid": ACCOUNTS[PEOPLE].number,
    PEOPLE_GROUP_VARIABLE: ACCOUNTS[PEOPLE].number,
    **{account.variable: account.number for account in ACCOUNTS.values() if account.name != PEOPLE},
    "noslop_users": [],
    **_WRITERS,
    extra_shares.VARIABLE: [],
    "noslop_allowed_networks": [],
    "noslop_custom_nodes": [],
    "noslop_models": [],
    "noslop_models_tokens": {},
    "noslop_models_rate_mb": 0,
    "noslop_models_hub": "https://huggingface.co",
    "noslop_models_market": "https://civitai.com",
    "noslop_models_warm_memory_percent": 50,
    "noslop_models_daily_gb": 20,
    "noslop_models_cache": {},
    "noslop_monitor_enabled": False,
    "noslop_monitor_textfile_directory": "/var/lib/prometheus/node-exporter",
    "noslop_monitor_webhook": {},
    **dict.fromkeys(("noslop_artifact_mirror", "noslop_comfyui_version", "noslop_ollama_version"), ""),
    "noslop_firewall_enabled": True,
    "noslop_announce": False,
    "noslop_smb_enabled": False,
    "noslop_smb_users": [],
    "noslop_smb_networks": [],
    "noslop_smb_encryption": "offered",
    "noslop_smb_models_writable": False,
    "noslop_smb_discovery": False,
}

#: Variables of one role that other roles read too, with their defaults.
SHARED_DEFAULTS: dict[str, Any] = {
    **{service.port_variable: service.port for service in SERVICES.values()},
    "nfs_client_options": "vers=4.2,hard,nconnect=4,rsize=1048576,wsize=1048576,nosuid,nodev",
    "nfs_client_models_options": "acregmin=60,acregmax=600,acdirmin=1,acdirmax=3",
    "nfs_client_read_ahead_kb": READ_AHEAD_KB,
    "nfs_server_insecure_clients": [],
    "nfs_tls_own_files": {},
    **dict.fromkeys(("nfs_client_quiet_units", "nfs_server_quiet_units"), NFS_HELPER_UNITS),
    "ollama_existing_units": ["ollama.service"],
}

#: Variables that belong to one host or to one run.
HOST_VARIABLES = ("noslop_address", "noslop_gpus")
RUN_VARIABLES = ("noslop_verify_report", "noslop_lease")

#: Share name to the variable of its path, for writing and checking an inventory.
PATH_VARIABLES: dict[str, str] = {name: share.variable for name, share in _SHARES.items()}

#: Every variable that decides what :func:`shares` returns, and what :func:`accounts` returns.
SHARE_VARIABLES = ("noslop_storage_root", *PATH_VARIABLES.values(), *_WRITERS, extra_shares.VARIABLE)
ACCOUNT_VARIABLES = (*(account.variable for account in ACCOUNTS.values()), PEOPLE_GROUP_VARIABLE)


def writers_variable(share: str) -> str:
    """Return the variable that decides which hosts may write to a share. Raises ValueError where none does."""
    variable = _SHARES[share].writers_variable if share in _SHARES else None
    if variable is None:
        raise ValueError(f"no variable decides who writes to the share {share}")
    return variable


def shares(variables: Mapping[str, Any]) -> list[Share]:
    """List the studio's shares, in a fixed order.

    Returns:
        One share a directory, with an absolute, normalised path.

    Raises:
        ValueError: a path is not absolute, two shares have the same path, or the writers are unknown.
    """
    root = _path("noslop_storage_root", variables.get("noslop_storage_root") or STORAGE_ROOT)
    listed: list[Share] = []
    for name, default in _SHARES.items():
        value = variables.get(default.variable) or posixpath.join(root, default.below_root)
        writers = _writers(default.writers_variable, variables)
        listed.append(Share(name, _path(default.variable, value), default.kind, default.env, default.owner, writers))
    listed += [_make_share(extra, root) for extra in extra_shares.parse(variables.get(extra_shares.VARIABLE), _SHARES)]
    paths = [share.path for share in listed]
    for share in listed:
        if paths.count(share.path) > 1:
            raise ValueError(
                f"{PATH_VARIABLES.get(share.name, extra_shares.VARIABLE)}: {share.path} is the path of another share "
                "too. Give each its own."
            )
    return listed


def _make_share(extra: extra_shares.ExtraShare, root: str) -> Share:
    """Return a share beyond the studio's five, which is for work and belongs to its people."""
    return Share(
        extra.name,
        _path(f"{extra_shares.VARIABLE} ({extra.name})", extra.path or posixpath.join(root, extra.name)),
        kind="work",
        env=f"SHARE_{extra.name.upper()}_DIR",
        owner=PEOPLE,
        writers=extra.writers,
        clients=extra.clients,
        read_only=extra.read_only,
        options=extra.options,
    )


def shares_as_dicts(variables: Mapping[str, Any]) -> list[dict[str, str]]:
    """List the same shares as roles receive them. Raises what :func:`shares` raises."""
    return [asdict(share) for share in shares(variables)]


def accounts(variables: Mapping[str, Any]) -> list[AccountNumbers]:
    """List the studio's accounts with their numbers, in a fixed order.

    Raises:
        ValueError: a number is unusable, or two accounts have the same.
    """
    listed: list[AccountNumbers] = []
    for account in ACCOUNTS.values():
        uid = _number(account.variable, variables)
        gid = _number(PEOPLE_GROUP_VARIABLE, variables) if account.name == PEOPLE else uid
        listed.append(
            AccountNumbers(account.name, uid, gid, EXTRA_GROUPS.get(account.name, ()), account.name in PEOPLE_GROUPS)
        )
    for one, other in itertools.combinations(listed, 2):
        same = [kind for kind in ("uid", "gid") if getattr(one, kind) == getattr(other, kind)]
        if same:
            first = PEOPLE_GROUP_VARIABLE if same == ["gid"] and one.name == PEOPLE else ACCOUNTS[one.name].variable
            raise ValueError(
                f"{first}, {ACCOUNTS[other.name].variable}: {one.name} and {other.name} have the same {same[0]} "
                f"{getattr(one, same[0])}. Give each account a number of its own."
            )
    return listed


def accounts_from_dicts(listed: Iterable[Mapping[str, Any]]) -> dict[str, AccountNumbers]:
    """Parse accounts as modules receive them from the lookup, and return them by name."""
    return {
        account["name"]: AccountNumbers(
            account["name"],
            int(account["uid"]),
            int(account["gid"]),
            tuple(account.get("groups") or ()),
            bool(account.get("people")),
        )
        for account in listed
    }


def services(variables: Mapping[str, Any]) -> list[Service]:
    """List the services with the ports that a host's variables give them, in a fixed order.

    Raises:
        ValueError: a port is no number from 1 to 65535.
    """
    listed: list[Service] = []
    for service in SERVICES.values():
        value = variables.get(service.port_variable)
        text = str(service.port if value in (None, "") else value)
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
            raise ValueError(
                f"{service.port_variable}: {text!r} is no port. Write a number from 1 to 65535, like {service.port}."
            )
        listed.append(replace(service, port=int(text)))
    return listed


def default_of(variable: str) -> Any:
    """Return the default of a variable that several roles read.

    Raises:
        ValueError: there is no such variable.
    """
    for defaults in (DEFAULTS, SHARED_DEFAULTS):
        if variable in defaults:
            return defaults[variable]
    raise ValueError(f"no variable is called {variable}; there are {', '.join((*DEFAULTS, *SHARED_DEFAULTS))}")


def _writers(variable: str | None, variables: Mapping[str, Any]) -> str:
    if variable is None:
        return "members"
    value = variables.get(variable) or _WRITERS[variable]
    if value not in WRITERS:
        raise ValueError(f"{variable}: {value!r} is neither {' nor '.join(WRITERS)}. Write one of these.")
    return str(value)


def _number(variable: str, variables: Mapping[str, Any]) -> int:
    value = variables.get(variable)
    text = str(DEFAULTS[variable] if value in (None, "") else value)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**32 - 1):
        raise ValueError(f"{variable}: {text!r} is no number of an account. Write one like {DEFAULTS[variable]}.")
    return int(text)


def _path(variable: str, value: object) -> str:
    path = str(value)
    if not path.startswith("/"):
        raise ValueError(f"{variable}: {path!r} is not an absolute path. Write it from the root, like {STORAGE_ROOT}.")
    return posixpath.normpath("/" + path.lstrip("/"))
