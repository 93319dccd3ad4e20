# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prepare, run or remove the cache of a host.

The role ``model_cache`` installs this file with those that it imports: ``python3 -I /opt/noslop/model-cache run``.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import stat
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host import mountinfo, safe_paths, worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.model_cache import follower, layout, service
from ansible_collections.noslop.studio.plugins.module_utils.models import whole_file
from ansible_collections.noslop.studio.plugins.module_utils.share import access

COMFYUI_MODELS, OLLAMA_MODELS = SHARES = ("comfyui_models", "ollama_models")
#: Caches that this host ever had, in the directory of the state, so that one at a path of before is removed too.
CACHES = "caches.json"
_OK, _PROBLEM = 0, 1


class CacheError(Exception):
    """A cache cannot be made where it is to be. The message is for the user."""


def main(words: Sequence[str]) -> int:
    """Run one command. Return the exit code.

    Args:
        words: ``prepare``, ``run`` or ``clean``, and the path of the settings that the role wrote. For ``clean`` also
            the path of the cache that stays, empty where none does.
    """
    command, path, *more = words
    with open(path, encoding="utf-8") as stream:
        settings: dict[str, Any] = json.load(stream)
    try:
        if command == "prepare":
            _prepare(settings)
        elif command == "run":
            limit, status_file = int(settings["limit_bytes"]), os.path.join(settings["run_directory"], "status.json")
            service.CacheService(read_shares(settings), limit, status_file).run()
        else:
            kept = [os.path.join(more[0], share["name"]) for share in settings["shares"]] if more[0] else []
            for removed in remove_others(settings["state_directory"], kept):
                sys.stdout.write(f"removed {removed}\n")
    except (CacheError, access.ShareError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return _PROBLEM
    return _OK


def read_shares(settings: Mapping[str, Any]) -> list[layout.CachedShare]:
    """Return the shares of the settings. Raises ShareError where an account is missing."""
    shares = []
    for one in settings["shares"]:
        account = access.require_share_owner(one["owner"])
        digests = {file["path"]: file["sha256"] for file in settings["files"]} if one["name"] == COMFYUI_MODELS else {}
        directory = os.path.join(settings["directory"], one["name"])
        shares.append(layout.CachedShare(one["name"], one["path"], directory, settings["studio_id"], account, digests))
    return shares


def _prepare(settings: Mapping[str, Any]) -> None:
    """Make the directories, and the view of each share that has none. Print what was made."""
    directory = settings["directory"]
    _require_disk(directory)
    _write_caches(settings["state_directory"], {*_read_caches(settings["state_directory"]), directory})
    if not os.path.isdir(directory):
        safe_paths.make_directory(directory, os.geteuid(), os.getegid(), 0o755)
        sys.stdout.write(f"made {directory}\n")
    status = os.stat(directory)
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CacheError(
            f"noslop_models_cache: {directory} can be changed by other accounts than root, and so could the models "
            "that programs read there. Choose a path that does not exist yet, in a directory of root's."
        )
    for share in read_shares(settings):
        owner = share.account or worker_processes.Account(os.geteuid(), os.getegid())
        safe_paths.make_directory(share.directory, owner.uid, owner.gid, 0o750)
        if not os.path.isdir(share.view):
            work = functools.partial(follower.build, share)
            outcome = worker_processes.run_one(work, share.account, access.SHARE_TIMEOUT_S)
            if outcome.error:
                raise CacheError(
                    f"{share.path} cannot be listed: {outcome.error}. Look at the storage server, then run again."
                )
            sys.stdout.write(f"made {share.view}\n")


def remove_others(state_directory: str, kept: Collection[str]) -> list[str]:
    """Remove the parts of caches that this host had, but some. Return their paths. What others put beside them stays.

    Args:
        state_directory: where the caches are remembered.
        kept: paths of the parts that stay.
    """
    removed = []
    caches = _read_caches(state_directory)
    for cache in sorted(caches):
        for part in (os.path.join(cache, share) for share in SHARES):
            if part not in kept and os.path.lexists(part):
                safe_paths.remove_tree(part)
                removed.append(part)
        if not any(os.path.dirname(part) == cache for part in kept):
            with contextlib.suppress(OSError):  # it has something else in it
                os.rmdir(cache)
            caches = caches - {cache}
            _write_caches(state_directory, caches)
    return removed


def _require_disk(directory: str) -> None:
    """Raise CacheError where the directory does not lie on a disk of this host."""
    mount = mountinfo.mount_containing(mountinfo.read_mounts(), directory)
    if mount is None or mount.is_network or mount.fstype in mountinfo.VOLATILE_TYPES:
        raise CacheError(
            f"noslop_models_cache: {directory} lies on {mount.fstype if mount else 'no file system'}, and copies "
            "belong on a disk of this host. Choose another path."
        )


def _read_caches(state_directory: str) -> set[str]:
    try:
        with open(os.path.join(state_directory, CACHES), encoding="utf-8") as stream:
            return set(json.load(stream))
    except FileNotFoundError:
        return set()


def _write_caches(state_directory: str, caches: set[str]) -> None:
    os.makedirs(state_directory, 0o755, exist_ok=True)
    whole_file.write_json(os.path.join(state_directory, CACHES), sorted(caches))
