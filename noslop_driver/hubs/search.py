# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search a hub and a marketplace for models."""

from __future__ import annotations

import posixpath
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.models.offers import is_model_file

from noslop_driver.errors import DriverError
from noslop_driver.hubs.metadata import FOLDERS, Hubs, ask_json

FILES_OF_A_REPOSITORY = 5
"""A repository may have hundreds of files, and the others should be shown too."""
_MAX_SIZE = 2**60
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPOSITORY = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Hit:
    """A model that a search returned. `source` is in the form that `make_entry` accepts."""

    name: str
    source: str
    about: str = ""
    folder: str = ""
    size: int = 0
    sha256: str = ""
    licence: str = ""
    gated: bool = False


def search_hub(words: Sequence[str], most: int, hubs: Hubs) -> list[Hit]:
    """Return files of the repositories that the hub finds for these words.

    Raises:
        DriverError: the hub does not answer.
    """
    query = urllib.parse.urlencode({"search": " ".join(words), "limit": most, "full": "true"}, errors="replace")
    address = f"{hubs.hub}/api/models?{query}"
    hits: list[Hit] = []
    for repository in _require_list(ask_json(address, hubs), address):
        name = str(repository.get("id"))
        if len(hits) < most and _REPOSITORY.fullmatch(name) and _list_model_files(repository):
            # Only the answer about one repository has sizes and checksums.
            about = ask_json(f"{hubs.hub}/api/models/{name}?blobs=true", hubs)
            hits += _list_hub_hits(name, about if isinstance(about, Mapping) else repository, words)
    return hits[:most]


def search_market(words: Sequence[str], most: int, hubs: Hubs) -> list[Hit]:
    """Return the newest version of the models that the marketplace finds for these words.

    Raises:
        DriverError: the marketplace does not answer.
    """
    query = urllib.parse.urlencode({"query": " ".join(words), "limit": most}, errors="replace")
    address = f"{hubs.market}/api/v1/models?{query}"
    answer = ask_json(address, hubs)
    models = _require_list(answer.get("items") if isinstance(answer, Mapping) else None, address)
    return [hit for model in models for hit in _list_market_hits(model)][:most]


def matches(words: Sequence[str], *texts: str) -> bool:
    """Return whether each word is in one of these texts, in any case."""
    return all(any(word.lower() in text.lower() for text in texts) for word in words)


def _require_list(value: object, address: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list):
        raise DriverError(f"{address} answers with something else than a list of models.")
    return [entry for entry in value if isinstance(entry, Mapping)]


def _list_model_files(repository: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    siblings = repository.get("siblings")
    files = [file for file in siblings if isinstance(file, Mapping)] if isinstance(siblings, list) else []
    return [file for file in files if is_model_file(str(file.get("rfilename") or ""))]


def _list_hub_hits(name: str, about: Mapping[str, Any], words: Sequence[str]) -> list[Hit]:
    """Return the files of a repository that a search is for: first those with the words in their own name."""
    card = about.get("cardData")
    licence = card.get("license") if isinstance(card, Mapping) else None
    hits = []
    for file in _list_model_files(about):
        large = file.get("lfs")
        digest = str(large.get("sha256") or "") if isinstance(large, Mapping) else ""
        hits.append(
            Hit(
                name=posixpath.basename(file["rfilename"]),
                source=f"hub:{name}/{file['rfilename']}",
                about=name,
                size=_read_size(file.get("size")),
                sha256=digest if _SHA256.fullmatch(digest) else "",
                licence=licence if isinstance(licence, str) else "",
                gated=bool(about.get("gated")),
            )
        )
    hits.sort(key=lambda hit: not matches(words, hit.source.removeprefix(f"hub:{name}")))
    return hits[:FILES_OF_A_REPOSITORY]


def _list_market_hits(model: Mapping[str, Any]) -> Iterator[Hit]:
    versions = model.get("modelVersions")
    version = versions[0] if isinstance(versions, list) and versions else None
    files = version.get("files") if isinstance(version, Mapping) else None
    listed = [file for file in files if isinstance(file, Mapping)] if isinstance(files, list) else []
    file = next((file for file in listed if file.get("primary")), listed[0] if listed else None)
    if not isinstance(version, Mapping) or file is None or not isinstance(version.get("id"), int):
        return
    hashes = file.get("hashes")
    digest = str(hashes.get("SHA256") or "").lower() if isinstance(hashes, Mapping) else ""
    yield Hit(
        name=posixpath.basename(str(file.get("name") or "")),
        source=f"civitai:{version['id']}",
        about=f"{model.get('name') or ''} {version.get('name') or ''}".strip(),
        folder=FOLDERS.get(str(model.get("type")), ""),
        size=_read_size(file.get("sizeKB"), unit=1024),
        sha256=digest if _SHA256.fullmatch(digest) else "",
        gated=version.get("availability", "Public") != "Public",
    )


def _read_size(value: object, unit: int = 1) -> int:
    """Return a size in bytes; 0 for what is none, such as the NaN that Python's JSON accepts."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _MAX_SIZE:
        return 0
    return round(value * unit)
