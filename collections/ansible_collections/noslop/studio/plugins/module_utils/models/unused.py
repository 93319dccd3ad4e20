# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what nothing names: files of ComfyUI's models, blobs of Ollama's, and downloads that will not go on.

Changes nothing. Reads names and manifests only.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.models import offers, ollama_store, part_file, trash

#: A directory with one of these is one model of many files.
_DIRECTORY_MODELS = ("config.json", "model_index.json")
#: A blob; with an ending a download that goes on; with digits alone what a client uploads (Ollama, manifest/layer.go).
_BLOB = re.compile(r"sha256-(?:(?P<digest>[0-9a-f]{64})(?P<partial>.*)|\d+)")


class BusyError(Exception):
    """A model comes in just now, so what is unused is not clear yet. The message is for the user."""


@dataclass(frozen=True)
class Unused:
    """A file that nothing names: its path below the share, and its size in bytes."""

    path: str
    size: int


def find_files(share: str, used: Collection[str], folders: Collection[str], before_s: float) -> list[Unused]:
    """Return the models of ComfyUI that nothing names.

    A file of a model that is a directory is left out, as are files in other folders, which nodes name in ways of their
    own, and names that cannot be printed.

    Args:
        share: path of the share.
        used: paths below the share that something names.
        folders: the folders of models that ComfyUI itself has.
        before_s: files that were changed since, in seconds since 1970, are left out.
    """
    files = []
    for folder in sorted(folders):
        for path in _list_models(os.path.join(share, folder)):
            status = os.lstat(path)
            name = os.path.relpath(path, share)
            if name not in used and name.isprintable() and _is_old(status, before_s):
                files.append(Unused(name, status.st_size))
    return files


def find_blobs(directory: str, before_s: float) -> list[Unused]:
    """Return the blobs of Ollama that no manifest names, and downloads that were given up.

    Args:
        directory: Ollama's directory of models. A manifest in its trash names its blobs, too.
        before_s: blobs that were changed since, in seconds since 1970, are left out.

    Raises:
        BusyError: a download has gone on since.
        ollama_store.StoreError: a manifest is damaged, so that its blobs are not known.
    """
    named = _read_digests(_list_all_manifests(directory))
    blobs = []
    for name in sorted(_list_names(os.path.join(directory, "blobs"))):
        match = _BLOB.fullmatch(name)
        try:
            status = os.lstat(os.path.join(directory, "blobs", name))
        except FileNotFoundError:
            continue  # a download has just ended
        if not match or not stat.S_ISREG(status.st_mode):
            continue
        is_whole = match["digest"] and not match["partial"]
        if not is_whole and not _is_old(status, before_s):
            raise BusyError(
                f"{os.path.join(directory, 'blobs', name)} is a download of Ollama's that has gone on lately, so "
                "nothing of Ollama's was looked at. Run this again a day later."
            )
        if (not is_whole or match["digest"] not in named) and _is_old(status, before_s):
            blobs.append(Unused(os.path.join("blobs", name), status.st_size))
    return blobs


def find_named_in_trash(directory: str) -> list[trash.Trashed]:
    """Return those blobs in the trash of Ollama's models that a manifest in its place names."""
    wanted = _read_digests(_list_manifests(directory))
    in_trash = [one for one in trash.list_all(directory) if one.path.startswith("blobs/")]
    return [one for one in in_trash if one.path[len("blobs/sha256-") :] in wanted]


def find_parts(share: str, wanted: Collection[str], before_s: float) -> list[Unused]:
    """Return partial downloads of files that the catalogue does not name, and that have not gone on since ``before_s``.

    Args:
        share: path of the share.
        wanted: paths below the share that the catalogue names.
        before_s: seconds since 1970.
    """
    keys = {part_file.make_key(path) for path in wanted}
    parts = []
    for name in sorted(_list_names(os.path.join(share, part_file.DIRECTORY))):
        status = os.lstat(os.path.join(share, part_file.DIRECTORY, name))
        if name.partition(".")[0] not in keys and stat.S_ISREG(status.st_mode) and _is_old(status, before_s):
            parts.append(Unused(os.path.join(part_file.DIRECTORY, name), status.st_size))
    return parts


def list_own_blobs(directory: str, manifest: str) -> list[str]:
    """Return the blobs below Ollama's directory that this manifest names, and no other one in its place."""
    others = [path for path in _list_manifests(directory) if path != os.path.join(directory, manifest)]
    shared = _read_digests(others)
    own = [digest for digest in ollama_store.read_digests(os.path.join(directory, manifest)) if digest not in shared]
    blobs = [os.path.join("blobs", f"sha256-{digest}") for digest in own]
    return [blob for blob in blobs if os.path.lexists(os.path.join(directory, blob))]


def _read_digests(manifests: Iterable[str]) -> set[str]:
    """Return the digests of the blobs that any of these manifests names."""
    return {digest for path in manifests for digest in ollama_store.read_digests(path)}


def _list_all_manifests(directory: str) -> list[str]:
    """Return the manifests in their place, and those in the trash."""
    removals = _list_names(os.path.join(directory, trash.DIRECTORY))
    bases = [directory, *(os.path.join(directory, trash.DIRECTORY, removal) for removal in removals)]
    return [path for base in bases for path in _list_manifests(base)]


def _list_manifests(directory: str) -> list[str]:
    walk = os.walk(os.path.join(directory, "manifests"))
    paths = [os.path.join(below, name) for below, __, names in walk for name in sorted(names)]
    return [path for path in paths if stat.S_ISREG(os.lstat(path).st_mode)]


def _list_models(folder: str) -> Iterator[str]:
    """Yield the regular files with the ending of a model, without hidden ones and those of models of many files."""
    for directory, directories, names in os.walk(folder):
        if directory != folder and any(name in names for name in _DIRECTORY_MODELS):
            directories.clear()
            continue
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(directory, name)
            is_model = offers.is_model_file(name) and not name.startswith(".")
            if is_model and stat.S_ISREG(os.lstat(path).st_mode):
                yield path


def _list_names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _is_old(status: os.stat_result, before_s: float) -> bool:
    """Return whether a file was not changed since. Its owner can set mtime, and not ctime."""
    return max(status.st_ctime, status.st_mtime) < before_s
