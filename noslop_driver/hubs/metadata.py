# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out where a model is, its size, checksum and licence, and return its entry for the catalogue."""

from __future__ import annotations

import http.client
import json
import posixpath
import re
import urllib.error
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.install import downloads
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import models as catalogue

from noslop_driver.errors import DriverError, UsageError

ModelEntry = dict[str, Any]
"""An entry of `noslop_models`, with the keys that plugin_utils/validation/models.py lists."""

_HUB_SOURCE = re.compile(r"hub:([A-Za-z0-9._-]+/[A-Za-z0-9._-]+)/([^@]+?)(?:@([^@/]+))?")
_HUB_PATH = re.compile(r"/([^/]+/[^/]+)/(?:blob|resolve)/([^/]+)/(.+)")
_AIR = re.compile(r"(?:urn:air:[^:]+:[^:]+:)?civitai:(?:\d+@)?(\d+)")
_MARKET_PATH = re.compile(r"/api/download/models/(\d+)")
#: Types of models of the marketplace to the folders of ComfyUI.
FOLDERS = {
    "Checkpoint": "checkpoints",
    "Controlnet": "controlnet",
    "Hypernetwork": "hypernetworks",
    "LORA": "loras",
    "LoCon": "loras",
    "DoRA": "loras",
    "TextualInversion": "embeddings",
    "Upscaler": "upscale_models",
    "VAE": "vae",
}
_ANSWER_MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Hubs:
    """The addresses of the hub and the marketplace, and a token by the origin that it is for."""

    hub: str = catalogue.HUB
    market: str = catalogue.MARKET
    tokens: Mapping[str, str] = field(default_factory=dict)


def make_entry(source: str, hubs: Hubs) -> ModelEntry:
    """Return the entry of a model, with all that its hub says of it, and the folder where that is clear.

    Args:
        source: `hub:OWNER/NAME/FILE[@REVISION]` or the address of a file's page on the hub, `civitai:VERSION` or an
            AIR (`urn:air:...@VERSION`), `ollama:NAME`, or the address of a file.
        hubs: where to ask.

    Raises:
        UsageError: the source has none of these forms.
        DriverError: the hub does not answer, or does not have the model.
    """
    if source.startswith("ollama:"):
        return {"ollama": source.removeprefix("ollama:")}
    if match := _AIR.fullmatch(source):
        return _ask_market(match[1], hubs)
    if match := _HUB_SOURCE.fullmatch(source):
        return _ask_hub(match[1], match[2], match[3] or "main", hubs)
    parts = urllib.parse.urlsplit(source)
    if parts.scheme not in ("https", "http"):
        raise UsageError(
            f"{source!r} is no source of a model. Write an address, hub:OWNER/NAME/FILE, civitai:VERSION or "
            "ollama:NAME."
        )
    if (match := _HUB_PATH.fullmatch(parts.path)) and is_of(source, hubs.hub, catalogue.HUB):
        return _ask_hub(match[1], urllib.parse.unquote(match[3]), match[2], hubs)
    if (match := _MARKET_PATH.fullmatch(parts.path)) and is_of(source, hubs.market, catalogue.MARKET):
        return _ask_market(match[1], hubs)
    return _ask_server(source, hubs)


def is_of(address: str, *servers: str) -> bool:
    """Return whether an address is below one of these: a studio with a mirror means it by the hub's own addresses."""
    return any(address.startswith(f"{server}/") for server in servers)


def make_source(address: str, hubs: Hubs) -> str:
    """Return the address of a file in the shortest form that `make_entry` accepts."""
    parts = urllib.parse.urlsplit(address)
    if (match := _HUB_PATH.fullmatch(parts.path)) and is_of(address, hubs.hub, catalogue.HUB):
        revision = "" if match[2] == "main" else f"@{match[2]}"
        source = f"hub:{match[1]}/{urllib.parse.unquote(match[3])}{revision}"
        if _HUB_SOURCE.fullmatch(source):
            return source
    return address


def find_version(sha256: str, hubs: Hubs) -> int | None:
    """Return the number of the marketplace's version that has a file with this content; `None` where it has none.

    Raises:
        DriverError: the marketplace does not answer.
    """
    address = f"{hubs.market}/api/v1/model-versions/by-hash/{sha256}"
    try:
        about = _read_json(address, hubs)
    except DriverError as error:
        if isinstance(error.__cause__, urllib.error.HTTPError) and error.__cause__.code == 404:
            return None
        raise
    files = [file for file in about.get("files") or [] if isinstance(file, Mapping)]
    primary = next((file for file in files if file.get("primary")), files[0] if files else {})
    # An address of a version brings its first file, so another file of it cannot be fetched by the number.
    hashes = primary.get("hashes")
    number = about.get("id")
    is_first = isinstance(hashes, Mapping) and str(hashes.get("SHA256") or "").lower() == sha256
    return number if is_first and isinstance(number, int) else None


def _ask_hub(repo: str, file: str, revision: str, hubs: Hubs) -> ModelEntry:
    """Ask the hub for a file: the commit of a revision, and size and SHA-256 of what lies in its large storage."""
    address = f"{hubs.hub}/{repo}/resolve/{urllib.parse.quote(revision)}/{urllib.parse.quote(file)}"
    headers = _read_headers(address, hubs, follow=False)
    about = _read_json(f"{hubs.hub}/api/models/{repo}", hubs)
    commit = headers.get("x-repo-commit", "")
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise DriverError(f"{address} does not say which commit it has: is {hubs.hub} a hub of models?")
    entry: ModelEntry = {"hub": {"repo": repo, "file": file, "commit": commit}}
    digest = headers.get("x-linked-etag", "").strip('"')
    if re.fullmatch(r"[0-9a-f]{64}", digest):
        entry["sha256"] = digest
    if (size := headers.get("x-linked-size", "")).isdigit():
        entry["size"] = int(size)
    card = about.get("cardData")
    if isinstance(card, Mapping) and isinstance(card.get("license"), str):
        entry["licence"] = card["license"]
    if about.get("gated"):
        entry["gated"] = True
    return entry


def _ask_market(version: str, hubs: Hubs) -> ModelEntry:
    """Ask the marketplace for a version: the name, size and SHA-256 of its first file."""
    address = f"{hubs.market}/api/v1/model-versions/{version}"
    about = _read_json(address, hubs)
    files = [file for file in about.get("files") or [] if isinstance(file, Mapping)]
    chosen = next((file for file in files if file.get("primary")), files[0] if files else None)
    if chosen is None:
        raise DriverError(f"{address} has no file.")
    model = about.get("model")
    folder = FOLDERS.get(str(model.get("type")) if isinstance(model, Mapping) else "")
    entry: ModelEntry = {"folder": folder} if folder else {}
    entry |= {"file": posixpath.basename(str(chosen.get("name") or "")), "civitai": int(version)}
    hashes = chosen.get("hashes")
    digest = str(hashes.get("SHA256") or "").lower() if isinstance(hashes, Mapping) else ""
    if re.fullmatch(r"[0-9a-f]{64}", digest):
        entry["sha256"] = digest
    return entry


def _ask_server(address: str, hubs: Hubs) -> ModelEntry:
    """Ask the server of a file for its size."""
    headers = _read_headers(address, hubs, follow=True)
    if headers.get("content-type", "").startswith("text/html"):
        raise DriverError(f"{address} is a web page, and no model. Copy the address of the download itself.")
    length = headers.get("content-length", "")
    return {"url": address, **({"size": int(length)} if length.isdigit() and int(length) else {})}


def _read_headers(address: str, hubs: Hubs, *, follow: bool) -> dict[str, str]:
    """Return the headers of an answer, in small letters; with `follow` those after its redirects."""
    try:
        with downloads.open_address(
            address, lambda one: _make_headers(one, hubs), method="HEAD", follow=follow
        ) as answer:
            return {key.lower(): value for key, value in answer.headers.items()}
    except (OSError, ValueError, http.client.HTTPException, downloads.DownloadError) as error:
        raise DriverError(_explain(address, error)) from error


def _read_json(address: str, hubs: Hubs) -> Mapping[str, Any]:
    value = ask_json(address, hubs)
    if not isinstance(value, Mapping):
        raise DriverError(f"{address} answers with something else than it should.")
    return value


def ask_json(address: str, hubs: Hubs) -> Any:  # noqa: ANN401 - JSON is anything
    """Return what a server answers, decoded.

    Raises:
        DriverError: it does not answer, or with something that is no JSON.
    """
    try:
        with downloads.open_address(address, lambda one: _make_headers(one, hubs)) as answer:
            return json.loads(answer.read(_ANSWER_MAX_BYTES))
    except (OSError, ValueError, RecursionError, http.client.HTTPException, downloads.DownloadError) as error:
        raise DriverError(_explain(address, error)) from error


def _make_headers(address: str, hubs: Hubs) -> dict[str, str]:
    """Return the headers of a request: a token goes to the origin that it is for."""
    parts = urllib.parse.urlsplit(address)
    token = hubs.tokens.get(f"{parts.scheme}://{parts.netloc}")
    return {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {token}"} if token else {})}


def _explain(address: str, error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        advice = {
            401: "It wants a token: name a file with one in noslop_models_tokens.",
            403: "It is refused: accept the licence on its page, and use a token of that account.",
            404: "It is not there. Correct the source.",
        }
        return f"{address}: {error.code} {error.reason}. {advice.get(error.code, 'Try again later.')}"
    return f"{address} cannot be asked: {error}. Try again, or write the entry by hand."
