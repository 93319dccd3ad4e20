# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read Ollama's directory of models: ``manifests/<host>/<namespace>/<model>/<tag>`` and ``blobs/sha256-<hex>``.

A blob is named by its hash, and Ollama does not compare one that is there: a damaged one stays.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable

_REGISTRY = "registry.ollama.ai"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_BLOCK_BYTES = 1024 * 1024
_PULL = "Pull the model again: noslop-driver models pull"
MANIFEST_MAX_BYTES = 4 * 1024 * 1024


class StoreError(Exception):
    """A model is missing or damaged. The message is for the user who has to repair it."""


def make_manifest_path(name: str) -> str:
    """Return the path of a model's manifest below the directory of models.

    Args:
        name: ``[host/][namespace/]model:tag``.
    """
    body, __, tag = name.rpartition(":")
    parts = body.split("/")
    host, namespace, model = [*[_REGISTRY, "library"][: 3 - len(parts)], *parts]
    return os.path.join("manifests", host, namespace, model, tag)


def list_blobs(name: str, directory: str) -> list[str]:
    """Return the hexadecimal digests of the blobs that a model consists of.

    Raises:
        StoreError: it has no manifest, or a damaged one.
    """
    path = os.path.join(directory, make_manifest_path(name))
    try:
        return read_digests(path)
    except OSError as error:
        raise StoreError(f"{name} is not there: {path}: {error.strerror}. {_PULL}") from error


def read_digests(path: str) -> list[str]:
    """Return the hexadecimal digests of the blobs that a manifest names.

    Raises:
        StoreError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        with open(path, "rb") as stream:
            manifest = json.loads(stream.read(MANIFEST_MAX_BYTES))
        # Ollama writes an empty config for a model without one (manifest/manifest.go).
        parts = [part for part in [manifest["config"], *manifest["layers"]] if part["digest"]]
        matches = [_DIGEST.fullmatch(part["digest"]) for part in parts]
        if not matches or not all(matches):
            raise ValueError("a digest is no SHA-256")
        return list(dict.fromkeys(match[1] for match in matches if match))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is a damaged manifest. Move it away. {_PULL}") from error


def verify(name: str, directory: str, report: Callable[[str, int, int], None]) -> int:
    """Read all blobs of a model, and compare each with its name. Return their size in bytes.

    Args:
        name: the model's, with its tag.
        directory: Ollama's directory of models.
        report: gets the name, the bytes so far and the size of all.

    Raises:
        StoreError: a blob is missing or damaged.
    """
    paths = {digest: os.path.join(directory, "blobs", f"sha256-{digest}") for digest in list_blobs(name, directory)}
    total = count = 0
    try:
        total = sum(os.stat(path).st_size for path in paths.values())
        for digest, path in paths.items():
            actual = hashlib.sha256()
            with open(path, "rb") as stream:
                while block := stream.read(_BLOCK_BYTES):
                    actual.update(block)
                    count += len(block)
                    report(name, count, total)
            if actual.hexdigest() != digest:
                raise StoreError(
                    f"{name} is damaged: {path} has the SHA-256 {actual.hexdigest()}. Move it away. {_PULL}"
                )
    except OSError as error:
        raise StoreError(f"{name}: {error.filename}: {error.strerror}. {_PULL}") from error
    return total
