# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every part of NoSlop knows about a studio: its shares, its variables and their defaults.

The roles reach this through the lookup ``noslop.studio.shares``, the driver imports it; nobody derives a path twice.
"""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

STORAGE_ROOT = "/mnt/noslop"
MARKER = ".noslop-share"
PROVIDERS = ("nfs", "local", "existing")


@dataclass(frozen=True)
class Share:
    """One directory that every host of a studio sees under the same path.

    ``kind`` decides how it is mounted: ``models`` are large, read through memory maps and listed by programs that
    compare directory times; ``work`` is written by several hosts and keeps the default attribute cache.
    """

    name: str
    path: str
    kind: str
    env: str


@dataclass(frozen=True)
class _ShareDefault:
    variable: str
    below_root: str
    kind: str
    env: str


_SHARES: dict[str, _ShareDefault] = {
    "ollama_models": _ShareDefault("noslop_ollama_models_dir", "ollama/models", "models", "OLLAMA_MODELS_DIR"),
    "comfyui_models": _ShareDefault("noslop_comfyui_models_dir", "comfyui/models", "models", "COMFYUI_MODELS_DIR"),
    "comfyui_custom_nodes": _ShareDefault(
        "noslop_comfyui_custom_nodes_dir", "comfyui/custom_nodes", "models", "COMFYUI_CUSTOM_NODES_DIR"
    ),
    "projects": _ShareDefault("noslop_project_storage_dir", "projects", "work", "PROJECT_STORAGE_DIR"),
    "media_cache": _ShareDefault("noslop_media_cache_dir", "media_cache", "work", "MEDIA_CACHE_DIR"),
}

#: Every variable a person may set for a whole studio, with its default. Paths are derived from the root.
DEFAULTS: dict[str, Any] = {
    "noslop_studio_id": None,
    "noslop_storage_root": STORAGE_ROOT,
    **{share.variable: None for share in _SHARES.values()},
    "noslop_storage_provider": "nfs",
    "noslop_min_free_gb": 50,
    "noslop_uid": 2600,
    "noslop_gid": 2600,
    "noslop_users": [],
    "noslop_allowed_networks": [],
    "noslop_artifact_mirror": "",
    "noslop_firewall_enabled": True,
}

#: Service to the role's variable that moves its port, and the port where nothing moves it. Each role's own default is
#: the same; firewall, preflight, verification and the driver read it here.
PORTS: dict[str, tuple[str, int]] = {
    "comfyui": ("comfyui_port", 8188),
    "ollama": ("ollama_port", 11434),
    "backend": ("studio_backend_port", 8765),
}

#: Variables that belong to one host or to one run.
HOST_VARIABLES = ("noslop_address", "noslop_gpus")
RUN_VARIABLES = ("noslop_verify_report", "noslop_lease")

#: Share name to the variable that moves it, for whoever writes or checks an inventory.
PATH_VARIABLES: dict[str, str] = {name: share.variable for name, share in _SHARES.items()}


def shares(variables: Mapping[str, Any]) -> list[Share]:
    """List the studio's shares, in a fixed order.

    Args:
        variables: values by collection-wide name; absent, empty and ``None`` mean the default.

    Returns:
        One share a directory, with an absolute, normalised path.

    Raises:
        ValueError: a path is not absolute, or two shares have the same path.
    """
    root = _path("noslop_storage_root", variables.get("noslop_storage_root") or STORAGE_ROOT)
    found: list[Share] = []
    for name, default in _SHARES.items():
        value = variables.get(default.variable) or posixpath.join(root, default.below_root)
        found.append(Share(name, _path(default.variable, value), default.kind, default.env))
    paths = [share.path for share in found]
    for share in found:
        if paths.count(share.path) > 1:
            raise ValueError(
                f"{PATH_VARIABLES[share.name]}: {share.path} is the path of another share too. Give each its own."
            )
    return found


def shares_as_dicts(variables: Mapping[str, Any]) -> list[dict[str, str]]:
    """The same list in the shape that roles receive. Raises what :func:`shares` raises."""
    return [asdict(share) for share in shares(variables)]


def ports(variables: Mapping[str, Any]) -> dict[str, int]:
    """Where the services listen, by service.

    Args:
        variables: values by name of the role's variable; absent, empty and ``None`` mean the default.

    Raises:
        ValueError: a port is no number from 1 to 65535.
    """
    found: dict[str, int] = {}
    for service, (variable, default) in PORTS.items():
        value = variables.get(variable)
        text = str(default if value in (None, "") else value)
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
            raise ValueError(f"{variable}: {text!r} is no port. Write a number from 1 to 65535, like {default}.")
        found[service] = int(text)
    return found


def address_of(host: str, variables: Mapping[str, Any]) -> str:
    """The address under which a host takes part in the studio.

    ``noslop_address`` where it is set, else ``ansible_host`` when that is an address.

    Raises:
        ValueError: neither is an IP address.
    """
    for name in ("noslop_address", "ansible_host"):
        address = as_ip(variables.get(name))
        if address:
            return address
    raise ValueError(
        f"{host}: its address in the studio is not known. Set noslop_address for it to an IP address of this host."
    )


def as_ip(value: object | None) -> str:
    """The canonical text of an IP address, or an empty string when ``value`` is none."""
    try:
        return str(ipaddress.ip_address(str(value)))
    except ValueError:
        return ""


def _path(variable: str, value: object) -> str:
    path = str(value)
    if not path.startswith("/"):
        raise ValueError(f"{variable}: {path!r} is not an absolute path. Write it from the root, like {STORAGE_ROOT}.")
    return posixpath.normpath("/" + path.lstrip("/"))
