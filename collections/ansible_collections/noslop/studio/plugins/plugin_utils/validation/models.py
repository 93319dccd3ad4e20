# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the studio's catalogue of models, ``noslop_models``. Pure."""

from __future__ import annotations

import posixpath
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.entry_values import (
    describe_entry,
    find_address_problem,
    parse_flag,
    parse_names,
    require_declared_keys,
)
from ansible_collections.noslop.studio.plugins.module_utils.models.model_paths import is_model_path

VARIABLE = "noslop_models"
#: Addresses of the hub and of the marketplace where the studio names no mirror of its own.
HUB = str(studio.DEFAULTS["noslop_models_hub"])
MARKET = str(studio.DEFAULTS["noslop_models_market"])
_KEYS = (
    *("folder", "file", "url", "hub", "civitai", "local", "ollama", "sha256", "size", "licence", "gated", "warm"),
    "extra",
)
_HUB_KEYS = ("repo", "file", "commit")
_SOURCES = ("url", "hub", "civitai", "local")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPO = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
#: ``[host[:port]/][namespace/]model[:tag]`` (Ollama, types/model/name.go).
_OLLAMA_PART = "[A-Za-z0-9_][A-Za-z0-9._-]*"
_OLLAMA = re.compile(rf"({_OLLAMA_PART}(:\d+)?/)?({_OLLAMA_PART}/){{0,2}}{_OLLAMA_PART}(:{_OLLAMA_PART})?")


@dataclass(frozen=True)
class Model:
    """One model of a studio: a file of ComfyUI's, or a model of Ollama's.

    A file has ``path`` below the share and ``url``, which is empty where it came from a host and cannot be fetched; one
    of Ollama's has ``ollama``, its name with its tag. ``size`` is in bytes. 0 and empty texts stand for unknown.
    ``extra`` is kept and not read. ``warm`` is true where all hosts with its service keep it in memory, or has the
    names of the hosts that do.
    """

    path: str = ""
    url: str = ""
    ollama: str = ""
    sha256: str = ""
    size: int = 0
    licence: str = ""
    gated: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    warm: bool | tuple[str, ...] = False

    @property
    def name(self) -> str:
        """Return what people call it: its path, or its name in Ollama."""
        return self.path or self.ollama

    @property
    def service(self) -> str:
        """Return the service that loads it, which is the group of its hosts too."""
        return "comfyui" if self.path else "ollama"

    def is_warm_on(self, host: str, services: Iterable[str]) -> bool:
        """Return whether a host that runs these services is to keep it in memory."""
        return self.service in services if isinstance(self.warm, bool) and self.warm else host in (self.warm or ())

    @property
    def names(self) -> tuple[str, ...]:
        """Return all that people may call it: the file's name alone too, and Ollama's without the tag."""
        if self.path:
            return self.path, posixpath.basename(self.path)
        return self.ollama, self.ollama.rpartition(":")[0]


def parse_models(value: object, hub: str = HUB, market: str = MARKET) -> list[Model]:
    """Parse the value of ``noslop_models``, and return the models in its order.

    Args:
        value: the list.
        hub: address of the hub that entries with ``hub`` are fetched from.
        market: address of the marketplace that entries with ``civitai`` are fetched from.

    Raises:
        ValueError: it is no list of models, an entry is unusable, or two entries have one name. The message names the
            entry and what to write.
    """
    if not isinstance(value, list | tuple):
        raise ValueError(f"{VARIABLE}: {value!r} is no list. Write one entry with folder and url for each model.")
    models = [_parse(entry, number, hub, market) for number, entry in enumerate(value, start=1)]
    names: dict[str, str] = {}
    for model in models:
        # Two files could be one, where the share's file system ignores case.
        other = names.setdefault(model.name.lower(), model.name)
        if sum(one.name.lower() == model.name.lower() for one in models) > 1:
            raise ValueError(f"{VARIABLE}: two entries are for {other}. Remove one, or give it another file name.")
    return models


def find_unknown_hosts(
    models: Iterable[Model], services: Mapping[str, Iterable[str]], servers: Iterable[str]
) -> list[str]:
    """Return a sentence for each host that is to keep a model warm and has no use for it.

    Args:
        models: the catalogue.
        services: the hosts of each service.
        servers: the storage servers, whose memory serves all hosts.
    """
    return [
        f"{VARIABLE}: {model.name} is warm on {host}, which is not in the group {model.service} and is no storage "
        "server. Correct its warm."
        for model in models
        for host in (model.warm if isinstance(model.warm, tuple) else ())
        if host not in {*services.get(model.service, ()), *servers}
    ]


def _parse(entry: object, number: int, hub: str, market: str) -> Model:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{VARIABLE}: entry {number} is {entry!r}. Write folder and url, each with its value.")
    name = str(entry.get("file") or entry.get("ollama") or "")
    where = describe_entry(VARIABLE, number, name)
    require_declared_keys(entry, _KEYS, where, "model", "; notes of yours belong into extra")
    common = Model(
        size=_parse_size(entry.get("size") or 0, f"{where}: size"),
        licence=str(entry.get("licence") or ""),
        gated=parse_flag(entry.get("gated", False), f"{where}: gated"),
        warm=_parse_warm(entry.get("warm", False), f"{where}: warm"),
        extra=_parse_extra(entry.get("extra") or {}, f"{where}: extra"),
    )
    if entry.get("ollama"):
        return replace(common, ollama=_parse_ollama(entry, where))
    url, file = _parse_source(entry, where, hub, market)
    sha256 = str(entry.get("sha256") or "")
    if sha256 and not _SHA256.fullmatch(sha256):
        raise ValueError(f"{where}: sha256 is {sha256!r}. Write all 64 hexadecimal digits, in small letters.")
    return replace(common, path=_parse_path(entry, file, where), url=url, sha256=sha256)


def _parse_ollama(entry: Mapping[str, Any], where: str) -> str:
    """Return the name with its tag."""
    others = [key for key in ("folder", "file", *_SOURCES, "sha256") if entry.get(key)]
    if others:
        raise ValueError(f"{where}: {others[0]} is of a file of ComfyUI's. A model of Ollama's has its name alone.")
    name = str(entry["ollama"])
    if not _OLLAMA.fullmatch(name):
        raise ValueError(f"{where}: {name!r} is no name of a model. Write it like llama3.2:1b.")
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _parse_source(entry: Mapping[str, Any], where: str, hub: str, market: str) -> tuple[str, str]:
    """Return the address of a file, and its name there or an empty text."""
    sources = [key for key in _SOURCES if entry.get(key)]
    if len(sources) != 1:
        raise ValueError(
            f"{where}: write one of url, hub, civitai, local or ollama. It has {', '.join(sources) or 'none'}."
        )
    if sources == ["local"]:
        parse_flag(entry["local"], f"{where}: local")
        if not entry.get("sha256"):
            raise ValueError(f"{where}: local needs sha256: without an address it is all that names the content.")
        return "", ""
    if sources == ["url"]:
        url = str(entry["url"])
        if problem := find_address_problem(url):
            raise ValueError(f"{where}: url {problem}")
        parts = urllib.parse.urlsplit(url)
        if re.search(r"(?i)(^|&)(token|key|api_key)=", parts.query):
            raise ValueError(
                f"{where}: url has a token in it, which every log would show. Write it into a file, and name that in "
                "noslop_models_tokens."
            )
        return url, urllib.parse.unquote(posixpath.basename(parts.path))
    if sources == ["civitai"]:
        version = str(entry["civitai"])
        if not version.isascii() or not version.isdigit():
            raise ValueError(f"{where}: civitai is {version!r}. Write the number of the model's version.")
        return f"{market}/api/download/models/{version}", ""
    return _parse_hub(entry["hub"], where, hub)


def _parse_hub(value: object, where: str, hub: str) -> tuple[str, str]:
    if not isinstance(value, Mapping) or sorted(value) != sorted(_HUB_KEYS):
        raise ValueError(f"{where}: hub needs {', '.join(_HUB_KEYS)}, and has {value!r}.")
    repo, file, commit = (str(value[key]) for key in _HUB_KEYS)
    if not _REPO.fullmatch(repo):
        raise ValueError(f"{where}: hub.repo is {repo!r}. Write it like owner/name.")
    if not _COMMIT.fullmatch(commit):
        raise ValueError(
            f"{where}: hub.commit is {commit!r}. Write all 40 hexadecimal digits: a branch can have another file "
            "tomorrow. 'noslop-driver models add' finds them."
        )
    if not is_model_path(file):
        raise ValueError(f"{where}: hub.file {file!r} is no path of a file in a repository.")
    return f"{hub}/{repo}/resolve/{commit}/{urllib.parse.quote(file)}", posixpath.basename(file)


def _parse_path(entry: Mapping[str, Any], default: str, where: str) -> str:
    """Return the path of a file below the share."""
    folder, file = str(entry.get("folder") or "").strip("/"), str(entry.get("file") or default)
    if not folder:
        raise ValueError(f"{where}: write the folder, like checkpoints or loras/sdxl.")
    if not file:
        raise ValueError(f"{where}: write the name of the file; the address has none.")
    path = f"{folder}/{file}"
    if "/" in file or not is_model_path(path):
        raise ValueError(f"{where}: {path!r} is no path below the models. Write plain names, none of them hidden.")
    return path


def _parse_size(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{where} is {value!r}. Write a number of bytes, or leave it out.")
    return value


def _parse_warm(value: object, where: str) -> bool | tuple[str, ...]:
    if isinstance(value, bool):
        return value
    try:
        return parse_names(value, where)
    except ValueError:
        raise ValueError(f"{where} is {value!r}. Write true, or a list of names of hosts.") from None


def _parse_extra(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is {value!r}. Write a dictionary.")
    return value
