# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage the models directory: names, manifests, blobs, and the pruning that affects other daemons."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from .common import OllamaError, log, os_message

REGISTRY = "registry.ollama.ai"
MEDIA = "application/vnd.ollama.image."
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
CHUNK = 64 * 1024
PRUNE_AGE_S = 3600
PART = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")


class Name:
    """A model's name, `[host/][namespace/]model[:tag]`, and the path of its manifest."""

    def __init__(self, text: str) -> None:
        body, _, tag = text.partition(":") if ":" in text.rpartition("/")[2] else (text, "", "")
        parts = body.split("/")
        if not text or len(parts) > 3 or not all(PART.match(p) for p in [*parts, tag or "latest"]):
            raise OllamaError(f'invalid model name "{text}"', 400)
        defaults = [REGISTRY, "library"]
        self.host, self.namespace, self.model = [*defaults[: 3 - len(parts)], *parts]
        self.tag = tag or "latest"

    @property
    def short(self) -> str:
        """Return the name for display: without the registry's host and namespace, with the tag."""
        parts = [self.model]
        if self.host != REGISTRY:
            parts = [self.host, self.namespace, self.model]
        elif self.namespace != "library":
            parts = [self.namespace, self.model]
        return "/".join(parts) + ":" + self.tag

    @property
    def path(self) -> Path:
        """Return the path of the manifest below `manifests`."""
        return Path(self.host, self.namespace, self.model, self.tag)


def model_bytes(name: str, size: int) -> Iterator[bytes]:
    """Yield the content of a generated model: `size` bytes that depend on the name alone."""
    head = f"GGUF NoSlop stand-in for the model {name}. No weights here.\n".encode()
    left, count = size, 0
    while left > 0:
        chunk = head if count == 0 else b""
        while len(chunk) < CHUNK:
            chunk += hashlib.sha256(f"{name} {count}".encode()).digest()
            count += 1
        chunk = chunk[: min(CHUNK, left)]
        left -= len(chunk)
        yield chunk


class Models:
    """The models directory: `blobs/sha256-<hex>` and `manifests/<host>/<namespace>/<model>/<tag>`.

    There is no cache: the next request reads what another host wrote into a shared directory.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.blobs, self.manifests = root, root / "blobs", root / "manifests"
        self._pulls: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def prepare(self) -> None:
        """Create the directory of blobs, and look at all below it. Raises OllamaError. Manifests come with a model."""
        try:
            self.blobs.mkdir(0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise OllamaError(os_message("mkdir", error) + ": ensure path elements are traversable") from error
        try:
            for path in self.blobs.iterdir():
                if path.is_dir():
                    os.listdir(path)
        except OSError as error:
            raise OllamaError(os_message("open", error)) from error

    def blob(self, digest: str) -> Path:
        """Return a blob's path."""
        return self.blobs / digest.replace(":", "-")

    def manifest(self, name: Name) -> dict[str, Any]:
        """Return a manifest. Raises OllamaError, with status 404 when it does not exist."""
        try:
            return cast("dict[str, Any]", json.loads((self.manifests / name.path).read_bytes()))
        except OSError as error:
            raise OllamaError(f"model '{name.short}' not found", 404) from error
        except ValueError as error:
            raise OllamaError(f"manifest of '{name.short}': {error}") from error

    def names(self, *, skip_invalid: bool = False) -> list[Name]:
        """Return every model with a manifest, newest first.

        Raises OllamaError for a file whose name is none of a model, unless these are skipped, and OSError for a link
        that leads nowhere.
        """
        entries = []
        for path in self.manifests.glob("*/*/*/*"):
            try:
                name = Name("/".join(path.parts[-4:-1]) + ":" + path.name)
            except OllamaError as error:
                if skip_invalid:
                    continue
                raise OllamaError(str(error)) from error
            if os.path.lexists(path):  # another host may have removed it
                entries.append((-path.stat().st_mtime, str(path), name))
        return [name for _, _, name in sorted(entries, key=lambda entry: entry[:2])]

    def used(self) -> set[str]:
        """Return the file names of all blobs in manifests. Raises OllamaError when a manifest cannot be read."""
        manifests = [self.manifest(name) for name in self.names()]
        return {part["digest"].replace(":", "-") for m in manifests for part in [m["config"], *m["layers"]]}

    def prune(self) -> None:
        """Remove what no manifest names and is older than an hour, at each start without OLLAMA_NOPRUNE (ollama#15628).

        Where the manifests are missing, that is everything. Where one cannot be read, nothing is removed.
        """
        try:
            used = self.used()
        except (OllamaError, OSError) as error:
            log.warning("corrupt manifests detected, skipping prune operation: %s", error)
            return
        oldest = time.time() - PRUNE_AGE_S
        removed = 0
        for path in sorted(self.blobs.iterdir()):
            try:
                if path.name not in used and path.stat().st_mtime < oldest:
                    path.unlink()
                    removed += 1
            except OSError as error:
                log.error("couldn't remove blob blob=%s error=%s", path.name, error)
        log.info("total unused blobs removed: %d", removed)

    def describe(self, name: Name) -> dict[str, Any]:
        """Return a model as /api/tags lists it."""
        path = self.manifests / name.path
        manifest = self.manifest(name)
        when = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.timezone.utc)
        return {
            "name": name.short,
            "model": name.short,
            "modified_at": when.isoformat().replace("+00:00", "Z"),
            "size": manifest["config"]["size"] + sum(layer["size"] for layer in manifest["layers"]),
            "digest": hashlib.sha256(path.read_bytes()).hexdigest(),
            "details": {
                "parent_model": "",
                "format": "gguf",
                "family": "standin",
                "families": ["standin"],
                "parameter_size": "0B",
                "quantization_level": "F16",
            },
        }

    def store(self, content: bytes) -> dict[str, Any]:
        """Write a small blob, and return its descriptor for a manifest."""
        digest = hashlib.sha256(content).hexdigest()
        path = self.blob("sha256:" + digest)
        if not path.exists():
            partial = path.with_name(f"sha256-{secrets.token_hex(8)}-partial")
            partial.write_bytes(content)
            partial.rename(path)
        return {"digest": "sha256:" + digest, "size": len(content)}

    def write_manifest(self, name: Name, config: dict[str, Any], layers: list[dict[str, Any]]) -> None:
        """Write a manifest, with which the model exists."""
        path = self.manifests / name.path
        path.parent.mkdir(0o755, parents=True, exist_ok=True)
        body = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config, "layers": layers}
        path.write_text(json.dumps(body), "utf-8")

    def pull(self, name: Name) -> Iterator[dict[str, Any]]:
        """Download a model with generated content, with the same files on disk as the original.

        One daemon serialises its own pulls of a model. Two daemons on one share do not know of each other and
        write the same partial file; the slower one then fails at the rename.
        """
        yield {"status": "pulling manifest"}
        if name.host != REGISTRY or name.model == "does-not-exist":
            raise OllamaError("pull model manifest: file does not exist")
        size = int(os.environ.get("OLLAMA_STANDIN_MODEL_BYTES", 4 * CHUNK))
        whole = hashlib.sha256()
        for chunk in model_bytes(name.short, size):
            whole.update(chunk)
        digest = "sha256:" + whole.hexdigest()
        with self._guard:
            lock = self._pulls.setdefault(digest, threading.Lock())
        with lock:
            was_there = self.blob(digest).exists()
            yield from self._download(name, digest, size)
        yield {"status": "verifying sha256 digest"}
        if not was_there:  # a blob that is there is not looked at
            self._verify(digest)
        yield {"status": "writing manifest"}
        config = self.store(json.dumps({"model_format": "gguf", "model_family": "standin"}).encode())
        layer = {"mediaType": MEDIA + "model", "digest": digest, "size": size}
        self.write_manifest(name, {"mediaType": CONFIG_TYPE, **config}, [layer])
        yield {"status": "success"}

    def _verify(self, digest: str) -> None:
        """Remove a blob whose content is not what its name says, and raise OllamaError."""
        actual = hashlib.sha256()
        with self.blob(digest).open("rb") as stream:
            for chunk in iter(lambda: stream.read(CHUNK), b""):
                actual.update(chunk)
        if "sha256:" + actual.hexdigest() != digest:
            self.blob(digest).unlink()
            raise OllamaError(
                f"digest mismatch, file must be downloaded again: want {digest}, got {actual.hexdigest()}"
            )

    def _download(self, name: Name, digest: str, size: int) -> Iterator[dict[str, Any]]:
        progress = {"status": "pulling " + digest[7:19], "digest": digest, "total": size}
        final = self.blob(digest)
        if final.exists():
            yield {**progress, "completed": size}
            return
        partial = final.with_name(final.name + "-partial")
        state = final.with_name(final.name + "-partial-0")
        gate = os.environ.get("OLLAMA_STANDIN_PULL_GATE")
        done = 0
        descriptor = os.open(partial, os.O_CREAT | os.O_RDWR, 0o644)
        with os.fdopen(descriptor, "r+b") as stream:
            for chunk in model_bytes(name.short, size):
                stream.write(chunk)
                stream.flush()
                done += len(chunk)
                state.write_text(json.dumps({"N": 0, "Offset": 0, "Size": size, "Completed": done}), "utf-8")
                yield {**progress, "completed": done}
                while gate and not os.path.exists(gate):
                    time.sleep(0.05)
            stream.truncate()
        state.unlink(missing_ok=True)
        try:
            partial.rename(final)
        except OSError as error:
            raise OllamaError(f"rename {partial} {final}: {(error.strerror or '').lower()}") from error

    def delete(self, name: Name) -> None:
        """Remove a model, and the blobs that no other model names."""
        manifest = self.manifest(name)
        path = self.manifests / name.path
        path.unlink()
        for parent in path.parents:
            if parent == self.manifests or any(parent.iterdir()):
                break
            parent.rmdir()
        used = self.used()
        for part in [manifest["config"], *manifest["layers"]]:
            if part["digest"].replace(":", "-") not in used:
                self.blob(part["digest"]).unlink(missing_ok=True)

    def create(self, name: Name, base: str, system: str) -> Iterator[dict[str, Any]]:
        """Create a model from another one (`FROM`), with its own system prompt."""
        manifest = self.manifest(Name(base))
        layers = [layer for layer in manifest["layers"] if system == "" or layer["mediaType"] != MEDIA + "system"]
        for layer in layers:
            yield {"status": "using existing layer " + layer["digest"]}
        if system:
            layers.append({"mediaType": MEDIA + "system", **self.store(system.encode())})
            yield {"status": "creating new layer " + layers[-1]["digest"]}
        yield {"status": "writing manifest"}
        self.write_manifest(name, manifest["config"], layers)
        yield {"status": "success"}

    def load(self, name: Name) -> int:
        """Read the model's file as a runner would, and return its size in bytes."""
        size = 0
        for layer in self.manifest(name)["layers"]:
            if layer["mediaType"] != MEDIA + "model":
                continue
            try:
                with self.blob(layer["digest"]).open("rb") as stream:
                    read_bytes = sum(len(chunk) for chunk in iter(lambda: stream.read(CHUNK), b""))
            except OSError as error:
                raise OllamaError("unable to load model: " + os_message("open", error)) from error
            if read_bytes != layer["size"]:
                raise OllamaError(
                    f"unable to load model: {layer['digest']} has {read_bytes} bytes, not {layer['size']}"
                )
            size += read_bytes
        return size
