# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the models of another program's directory with their content, and what a share has of it. Changes nothing."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Collection, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.models import (
    adoption,
    file_types,
    model_paths,
    model_tree,
    shared_trees,
)
from ansible_collections.noslop.studio.plugins.module_utils.models.duplicates import Copy
from ansible_collections.noslop.studio.plugins.module_utils.models.model_tree import File

_UNPRIVILEGED = "nobody"
_DIFFUSERS = "model_index.json"
_PART_OF_DIFFUSERS = "it is a part of a model of Diffusers, which is a whole directory: copy that by hand"
_REGISTRY = "registry.ollama.ai/"
_LIBRARY = "library/"


class AdoptionError(Exception):
    """Models cannot be adopted. The message is for the user who has to repair it."""


def find_account(path: str) -> tuple[str, worker_processes.Account]:
    """Return the name and the account that a directory is read as: its owner, or in place of root an unprivileged one.

    Raises:
        AdoptionError: it is no directory, or not named from the root.
    """
    if not os.path.isabs(path):
        raise AdoptionError(f"{path!r} is no path from the root. Name the directory with the models in full.")
    try:
        status = os.stat(os.path.join(path, "."))
    except OSError as error:
        raise AdoptionError(f"{path} is no directory that can be read ({error.strerror}). Correct the path.") from error
    if status.st_uid:
        try:
            entry = pwd.getpwuid(status.st_uid)
        except KeyError:
            return str(status.st_uid), worker_processes.Account(status.st_uid, status.st_gid)
        return entry.pw_name, worker_processes.account_for(entry.pw_uid, entry.pw_gid)
    entry = pwd.getpwnam(_UNPRIVILEGED)
    return _UNPRIVILEGED, worker_processes.Account(entry.pw_uid, entry.pw_gid, (entry.pw_gid,))


def list_models(library: shared_trees.Library, tree: shared_trees.Tree) -> dict[str, Any]:
    """Return the models of a directory, those that cannot be adopted with the reason, and the names of Ollama's.

    Raises:
        AdoptionError: the directory cannot be read.
    """
    try:
        files = library.scan()[tree.name]
    except OSError as error:
        raise AdoptionError(
            f"{tree.path} cannot be read as the account {tree.account}: {error}. Let that account read it, or name "
            "another directory."
        ) from error
    chosen = [file for file in files if file.path.lower().endswith(adoption.ENDINGS)]
    skipped = [{"path": shared_trees.show_path(one.path), "message": one.message} for one in library.skipped]
    library.skipped.clear()
    # A directory with this file is one model of many parts.
    whole = tuple(file.path[: -len(_DIFFUSERS)] for file in files if f"/{file.path}".endswith(f"/{_DIFFUSERS}"))
    copies = []
    for file, inspected in zip(chosen, _inspect(library, tree, chosen)):
        problem = _PART_OF_DIFFUSERS if file.path.startswith(whole) else inspected
        if problem:
            skipped.append({"path": shared_trees.show_path(file.path), "message": problem})
        else:
            copies.append(Copy(tree.name, (file,)))
    digests = library.hash(copies)
    skipped += [{"path": shared_trees.show_path(one.path), "message": one.message} for one in library.skipped]
    offers = [copy.file for copy in copies if copy.file.identity in digests]
    return {
        "files": [
            {
                "path": file.path,
                "size": file.size,
                "sha256": digests[file.identity],
                "version": adoption.make_version(file.inode, file.changed_ns),
            }
            for file in offers
        ],
        "skipped": skipped,
        "ollama": find_ollama_models([file.path for file in files]),
        "bytes": sum({file.identity: file.stored for file in files}.values()),
    }


def _inspect(library: shared_trees.Library, tree: shared_trees.Tree, files: Sequence[File]) -> list[str]:
    """Return for each file why it is no model; empty where it is one."""

    def work(send: Callable[[Any], None]) -> None:
        top = model_tree.open_top(tree.path)
        for file in files:
            send(_find_problem(top, file))

    return [str(problem) for problem in library.stream(work, tree.name)]


def _find_problem(top: int, file: File) -> str:
    if not model_paths.is_model_path(file.path):
        return "its name cannot be a model's on the share: give it a plain name"
    try:
        with open(model_tree.open_file(top, file.path), "rb") as stream:
            problem = file_types.find_problem_of_whole(file.path, stream, file.size)
    except OSError as error:
        return f"it cannot be read ({error.strerror}), as the owner of the directory or as {_UNPRIVILEGED}"
    return f"it is {problem}" if problem else ""


def find_ollama_models(paths: Sequence[str]) -> list[str]:
    """Return the names of the models of which a directory of Ollama's has a manifest."""
    names = []
    for path in paths:
        __, above, name = f"/{path}".rpartition("/manifests/")
        parts = name.split("/")
        if above and len(parts) == 4:
            name = f"{'/'.join(parts[:3])}:{parts[3]}"
            if name.startswith(_REGISTRY):
                name = name[len(_REGISTRY) :]
                name = name[len(_LIBRARY) :] if name.startswith(_LIBRARY) else name
            names.append(shared_trees.show_path(name))
    return names


def read_share(library: shared_trees.Library, sizes: Collection[int]) -> tuple[dict[str, str], list[str], int]:
    """Return the paths on the share by SHA-256 for files of these sizes, all paths, and the bytes of all."""
    files = next(iter(library.scan().values()), [])
    candidates = [Copy(shared_trees.CATALOGUE_TREE, (file,)) for file in files if file.size in sizes]
    digests = library.hash(candidates)
    present = {
        digests[copy.file.identity]: shared_trees.show_path(copy.file.path)
        for copy in reversed(candidates)
        if copy.file.identity in digests
    }
    names = [shared_trees.show_path(file.path) for file in files]
    return present, names, sum({file.identity: file.stored for file in files}.values())
