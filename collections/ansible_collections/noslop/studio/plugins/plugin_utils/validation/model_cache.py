# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse ``noslop_models_cache``, and decide which shares of a host have a cache in front of them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible.module_utils.common.text.formatters import human_to_bytes
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import is_below
from ansible_collections.noslop.studio.plugins.module_utils.share import path_rules

VARIABLE = "noslop_models_cache"
#: Service to the share of its models.
SHARES = {"comfyui": "comfyui_models", "ollama": "ollama_models"}
_KEYS = ("path", "size")
_ADVICE = f"Write it like {VARIABLE}: {{path: /var/cache/noslop-models, size: 200GB}}, or {{}} for none."
#: Where the units of services show an empty directory in place of the host's.
_HIDDEN = (studio.STATE_DIR, "/home", "/root", "/run")


@dataclass(frozen=True)
class ModelCache:
    """The directory of a cache, and what all copies in it may have together, in bytes."""

    path: str
    size: int


def parse(value: object, storage_paths: Iterable[str]) -> ModelCache | None:
    """Parse the variable; ``None`` where there is no cache.

    Args:
        value: the variable's.
        storage_paths: the storage root, and the paths of the shares.

    Raises:
        ValueError: it is unusable. The message has what to write.
    """
    if value in (None, "", {}):
        return None
    if not isinstance(value, Mapping) or sorted(value) != sorted(_KEYS):
        raise ValueError(f"{VARIABLE} is {value!r}. {_ADVICE}")
    path = str(value["path"])
    problems = path_rules.find_single_path_problems(VARIABLE, path)
    if problems:
        raise ValueError(problems[0].replace("cannot be shared", "cannot be the path of a cache"))
    for other in (*storage_paths, *_HIDDEN):
        if is_below(path, other) or is_below(other, path):
            raise ValueError(
                f"{VARIABLE}: {path} lies in {other} or around it, where the services do not see it. Choose a "
                "directory like /var/cache/noslop-models on a disk of the host."
            )
    return ModelCache(path, _parse_size(value["size"]))


def list_shares(services: Collection[str], host: str, groups: Mapping[str, Sequence[str]], provider: str) -> list[str]:
    """Return the names of the shares that a host may have a cache for.

    The storage server reads its own disk. The host that pulls Ollama's models writes to their share, which a program
    that reads through a cache cannot.

    Args:
        services: the services that the host runs.
        host: its name.
        groups: the hosts of each group of the inventory.
        provider: how the studio's storage is shared.
    """
    if provider == "local" or (provider == "nfs" and host not in groups.get("storage_clients", ())):
        return []
    pulling = groups.get("ollama", ())[:1]
    return [
        share
        for service, share in SHARES.items()
        if service in services and not (service == "ollama" and host in pulling)
    ]


def _parse_size(value: object) -> int:
    try:
        if not isinstance(value, str) or value.isdigit():
            raise ValueError("a number without a unit")
        size = int(human_to_bytes(value))
    except ValueError:
        raise ValueError(f"{VARIABLE}: size is {value!r}. Write a number with its unit, like 200GB or 1.5TB.") from None
    if size <= 0:
        raise ValueError(f"{VARIABLE}: size is {value!r}. {_ADVICE}")
    return size
