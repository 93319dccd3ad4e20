# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the steps of a move on one host, for the module ``noslop.studio.storage_move``."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import read_mounts
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Systemd
from ansible_collections.noslop.studio.plugins.module_utils.models import progress
from ansible_collections.noslop.studio.plugins.module_utils.share.markers import read_fstab_points
from ansible_collections.noslop.studio.plugins.module_utils.storage_move import (
    channel,
    listing_comparison,
    places,
    record,
    rsync,
    source_server,
    tree_listing,
    units,
)
from ansible_collections.noslop.studio.plugins.module_utils.storage_move.places import Share
from ansible_collections.noslop.studio.plugins.module_utils.storage_move.record import Move, MoveError
from ansible_collections.noslop.studio.plugins.module_utils.storage_move.request import Request

#: Stages after which a host has done its part of a move.
_ENDED = (record.SWITCHED, record.SERVED)


def examine(__: Any, request: Request) -> dict[str, Any]:
    """Return what speaks against the move on this host, what the shares take, and the record."""
    move = record.read(request.record_file)
    mounts = read_mounts()
    problems: list[str] = []
    if request.is_source:
        aside = move is not None and move.part == record.SOURCE and move.stage != record.COPYING
        here = [share for share in request.shares if not (aside and os.path.isdir(share.kept(_stamp(move))))]
        problems += places.find_source_problems(here, request.studio_id, mounts)
        usage = {share.name: tree_listing.read_usage(share.path) for share in here if os.path.isdir(share.path)}
    else:
        points = read_fstab_points()
        problems += places.find_target_problems(request.shares, mounts, points)
        if request.root:
            problems += places.find_server_problems(
                request.root, request.shares, mounts, require_own_file_system=request.require_own_file_system
            )
        usage = {share.name: tree_listing.read_usage(share.staging) for share in request.shares}
        left = {
            name: places.Need(max(0, need.size - usage[name].size), max(0, need.inodes - usage[name].inodes))
            for name, need in request.needs.items()
        }
        if left and not problems:
            problems += places.find_room_problems(request.shares, left, request.reserve_bytes)
    problems += _find_other_move(move, request)
    needs = [{"name": name, "size": one.size, "inodes": one.inodes} for name, one in usage.items()]
    installed = bool(request.rsync and shutil.which("openssl"))
    record_now = asdict(move) if move else {}
    return {"changed": False, "problems": problems, "needs": needs, "move": record_now, "installed": installed}


def begin(__: Any, request: Request) -> dict[str, Any]:
    """Write the record of the move. On the old server, put back what an interrupted run has set aside."""
    move = record.read(request.record_file)
    problems = _find_other_move(move, request)
    if problems:
        raise MoveError(" ".join(problems))
    stamp = request.stamp or time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    new = Move(request.studio_id, request.part, record.COPYING, request.peer, stamp)
    if request.is_source and move and move.part == record.SOURCE and move.stage == record.LEAVING:
        for share in request.shares:
            places.put_back(share, move.stamp)
    if move and (move.part, move.peer) == (new.part, new.peer) and move.stage not in _ENDED and request.is_source:
        new = replace(new, stamp=move.stamp)
    if new != move:
        record.write(new, request.record_file)
    if not request.is_source:
        if move == new:
            _withdraw(request)
        places.make_staging(request.shares)
    return {"changed": new != move, "move": asdict(new)}


def copy(__: Any, request: Request) -> dict[str, Any]:
    """Make the copies equal to the shares of the old server."""
    channel.require_rsync(request)
    with _job(request) as report:
        shell = channel.write_connector(request)
        for share in request.shares:
            show = report(share, request.needs)
            rsync.run(request.rsync, shell, share.name, share.staging, show, final=request.final)
            report.rows.end(share.name, "fetched")
    return {"changed": True}


def list_files(__: Any, request: Request) -> dict[str, Any]:
    """List the files of each share with their hashes."""
    if request.is_source and request.final:
        _require_unused(request)
    channel.make_private(request.state_directory)
    __, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))  # a directory below another one each needs one
    if not request.is_source:
        os.sync()  # what is hashed is on the disk
    listings = []
    with _job(request) as report:
        for share in request.shares:
            hashed = 0
            show = report(share, request.needs)

            def count(size: int, show: Callable[[int], None] = show) -> None:
                nonlocal hashed
                hashed += size
                show(hashed)

            cache = os.path.join(request.state_directory, f"{share.name}.hashes")
            listing = tree_listing.write_listing(request.tree(share), request.list_path(share), cache, count)
            listings.append({"name": share.name, **asdict(listing)})
            report.rows.end(share.name, "fetched")
    return {"changed": False, "listings": listings}


def compare(__: Any, request: Request) -> dict[str, Any]:
    """Compare the lists of both hosts. The digests came by Ansible, so a list that was fetched is proven by them."""
    differences: list[str] = []
    for share in request.shares:
        wanted = request.listings[share.name]["digest"]
        if tree_listing.hash_file(request.list_path(share)) == wanted:
            continue
        directory = os.path.dirname(request.peer_list_path(share))
        channel.make_private(directory)
        rsync.run_file(
            request.rsync, channel.write_connector(request), f"{source_server.MANIFESTS}/{share.name}.list", directory
        )
        if tree_listing.hash_file(request.peer_list_path(share)) != wanted:
            raise MoveError(f"The list of {share.name} on the old server changed. Run this again.")
        with open(request.peer_list_path(share), "rb") as old, open(request.list_path(share), "rb") as new:
            found = listing_comparison.find_differences(old, new)
        differences += [f"{share.name}: {one}" for one in found or ["the lists differ."]]
    return {"changed": False, "differences": differences}


def record_units(module: Any, request: Request) -> dict[str, Any]:
    """Record the units that run."""
    channel.make_private(request.run_directory)
    return {"changed": False, "units": units.record(module, request.run_directory)}


def stop_units(module: Any, request: Request) -> dict[str, Any]:
    """Stop the units of the studio."""
    systemd = Systemd(module)
    units.stop(module, systemd)
    return {"changed": bool(systemd.changes)}


def start_units(module: Any, request: Request) -> dict[str, Any]:
    """Start the recorded units again."""
    systemd = Systemd(module)
    units.start(module, systemd, request.run_directory)
    move = record.read(request.record_file)
    left = move is not None and (move.part, move.stage) == (record.SOURCE, record.SWITCHED)
    kept = [path for path in _list_kept(request, _stamp(move)) if os.path.isdir(path)] if left else []
    return {"changed": bool(systemd.changes), "kept_shares": kept}


def set_aside(__: Any, request: Request) -> dict[str, Any]:
    """Rename the shares of the old server, if no file changed since it was listed; else put them back."""
    move = _require_move(request)
    if move.stage == record.SWITCHED:
        return {"changed": False, "kept_shares": _list_kept(request, move.stamp)}
    _require_unused(request)
    record.write(replace(move, stage=record.LEAVING), request.record_file)
    try:
        for share in request.shares:
            if not os.path.isdir(share.kept(move.stamp)):
                places.set_aside(share, move.stamp)
            if tree_listing.read_fingerprint(share.kept(move.stamp)) != request.listings[share.name]["fingerprint"]:
                raise MoveError(
                    f"A file of {share.path} changed after the comparison, although nothing should write there any "
                    "more. Look which program of this host changes it, end it, and run this again."
                )
    except BaseException:
        for share in request.shares:
            places.put_back(share, move.stamp)
        record.write(replace(move, stage=record.COPYING), request.record_file)
        raise
    record.write(replace(move, stage=record.SWITCHED), request.record_file)
    for share in request.shares:
        places.disable_marker(share, move.stamp)
    return {"changed": True, "kept_shares": _list_kept(request, move.stamp)}


def put_in_place(__: Any, request: Request) -> dict[str, Any]:
    """Rename the copies to the paths of the shares."""
    move = _require_move(request)
    if move.stage in _ENDED:
        return {"changed": False}
    for share in request.shares:
        places.put_in_place(share)
    record.write(replace(move, stage=record.SWITCHED), request.record_file)
    return {"changed": True}


def undo(__: Any, request: Request) -> dict[str, Any]:
    """Revoke the move: remove the copies of the new server, or put the shares of the old one back."""
    channel.stop(__, request)
    move = record.read(request.record_file)
    if move is None or move.part != request.part or move.studio_id != request.studio_id:
        return {"changed": False, "removed": []}
    if move.stage == record.SERVED:
        raise MoveError(
            f"This host serves the storage since it was moved from {move.peer}. To move it back: `noslop-driver host "
            f"move-storage {move.peer}`."
        )
    removed: list[str] = []
    if request.is_source:
        for share in request.shares:
            places.put_back(share, move.stamp)
    else:
        # From now on this host serves nothing, whatever comes between.
        record.write(replace(move, stage=record.COPYING), request.record_file)
        _withdraw(request)
        removed = places.remove_staging(request.shares)
    record.remove(request.record_file)
    return {"changed": True, "removed": removed}


def read_progress(__: Any, request: Request) -> dict[str, Any]:
    """Return how far the copy or list is that runs now."""
    return {"changed": False, **progress.read_state(request.run_directory)}


#: What the module does, by its parameter ``state``.
STEPS: dict[str, Callable[[Any, Request], dict[str, Any]]] = {
    "examined": examine,
    "begun": begin,
    "keyed": channel.make_key,
    "served": channel.serve,
    "stopped": channel.stop,
    "copied": copy,
    "listed": list_files,
    "compared": compare,
    "units_recorded": record_units,
    "units_stopped": stop_units,
    "units_started": start_units,
    "set_aside": set_aside,
    "put_in_place": put_in_place,
    "undone": undo,
    "progress": read_progress,
}


class _Report:
    """The progress of a job, in bytes of each share."""

    def __init__(self, request: Request) -> None:
        self.rows = progress.Progress([progress.Row(share.name) for share in request.shares], request.run_directory)

    def __call__(self, share: Share, needs: Mapping[str, places.Need]) -> Callable[[int], None]:
        """Return the function that reports the bytes of a share."""
        size = needs[share.name].size if share.name in needs else 0
        return lambda count: self.rows.update(share.name, count, max(size, count))


@contextlib.contextmanager
def _job(request: Request) -> Iterator[_Report]:
    """Let one copy or list at a time run on a host."""
    lock = progress.Lock(request.run_directory)
    if not lock.try_to_acquire():
        raise MoveError("Another run copies or reads the shares on this host now. Wait for its end.")
    try:
        yield _Report(request)
    finally:
        os.close(lock.descriptor)


def _find_other_move(move: Move | None, request: Request) -> list[str]:
    """Return why this host cannot take part: it is part of another move that is not complete."""
    if move is None or move.stage in _ENDED or move.studio_id != request.studio_id:
        return []
    if (move.part, move.peer) == (request.part, request.peer):
        return []
    if move.part == record.SOURCE:
        todo = f"Continue with `noslop-driver host move-storage {move.peer}`, or give it up with --undo."
        return [f"A move of the storage from this host to {move.peer} is not complete. {todo}"]
    return [
        f"A move of the storage from {move.peer} to this host is not complete. Continue with `noslop-driver host "
        "move-storage` and the name of this host, or give it up with --undo."
    ]


def _withdraw(request: Request) -> None:
    """Rename the shares that an interrupted run has put in their places back to their copies."""
    mounts = read_mounts()
    for share in request.shares:
        places.withdraw(share, mounts)


def _require_move(request: Request) -> Move:
    move = record.read(request.record_file)
    if move is None or (move.part, move.peer, move.studio_id) != (request.part, request.peer, request.studio_id):
        raise MoveError(f"This host has no record of a move with {request.peer}. Run the playbook from its begin.")
    return move


def _require_unused(request: Request) -> None:
    server = progress.read_holder(request.server_directory)
    users = places.find_users([share.path for share in request.shares], server)
    if users:
        raise MoveError(f"Programs of this host use the shares: {'; '.join(users)}. End them, and run this again.")


def _list_kept(request: Request, stamp: str) -> list[str]:
    return sorted({os.path.dirname(share.kept(stamp)) for share in request.shares})


def _stamp(move: Move | None) -> str:
    return move.stamp if move else ""
