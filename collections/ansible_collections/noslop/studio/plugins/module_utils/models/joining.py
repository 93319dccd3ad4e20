# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Join the equal files of a studio's shares: by shared extents, else by hard links within one share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.models import (
    duplicates,
    extents,
    hard_links,
    model_tree,
    shared_trees,
)
from ansible_collections.noslop.studio.plugins.module_utils.models.duplicates import Copy, Group
from ansible_collections.noslop.studio.plugins.module_utils.models.model_tree import File
from ansible_collections.noslop.studio.plugins.module_utils.share import access

_NO_EXTENTS = "the file system cannot share extents"
#: The answer of a worker for two files that cannot share extents.
_UNSUPPORTED = "unsupported"
_CHANGED = "it changed while this ran"


@dataclass(frozen=True)
class Outcome:
    """How a copy was joined: shared or linked, to what; or apart, and why."""

    state: str
    source: Copy
    message: str = ""


class Joining:
    """One run over the files of a library."""

    def __init__(self, library: shared_trees.Library, *, hard_links: bool, check_mode: bool) -> None:
        """Set whether hard links may be made, and whether anything may."""
        self._library, self._hard_links, self._check_mode = library, hard_links, check_mode
        #: files whose ctime this run changed by a link, as they are now
        self._current: dict[tuple[int, int], File] = {}
        self._changed = False

    def join(self) -> dict[str, Any]:
        """Join all files with the same content. Return the result of the module."""
        files = self._library.scan(finish_links=not self._check_mode)
        candidates = duplicates.find_candidates(files)
        digests = self._library.hash(candidates)
        groups = duplicates.make_groups(candidates, digests)
        copies = [copy for group in groups for copy in group.copies]
        places = self._library.measure(copies)
        stored = {file.identity: file.stored for listed in files.values() for file in listed}
        others = sum(stored.values()) - sum(copy.file.stored for copy in copies)
        before = others + duplicates.count_stored(copies, places)
        outcomes = [
            (group, copy, self._join_one(group, copy))
            for group in groups
            for copy in group.others
            if not _is_joined(group, copy, places)
        ]
        joined = [copy for __, copy, outcome in outcomes if outcome.state != "apart"]
        left = [copy for copy in copies if not any(copy is one for one in joined)]
        linked = [copy for __, copy, outcome in outcomes if outcome.state == "linked"]
        if self._check_mode:
            after = others + duplicates.count_stored(left, places)
        else:
            remaining = [copy for copy in copies if not any(copy is one for one in linked)]
            after = others + duplicates.count_stored(remaining, self._library.measure(remaining))
        return {
            "changed": bool(joined) or self._changed,
            "duplicates": [_make_row(*one) for one in outcomes],
            "skipped": [
                {"share": one.tree, "path": shared_trees.show_path(one.path), "message": one.message}
                for one in self._library.skipped
            ],
            "bytes_before": before,
            "bytes_after": after,
            "bytes_apart": sum(copy.file.stored for __, copy, outcome in outcomes if outcome.state == "apart"),
        }

    def _join_one(self, group: Group, copy: Copy) -> Outcome:
        answer, source = _NO_EXTENTS, group.source
        for source in duplicates.find_sources(group, copy):
            answer = self._share(source, copy)
            if not answer:
                return Outcome("shared", source)
            if answer != _UNSUPPORTED:
                return Outcome("apart", source, answer)
        linked = duplicates.find_link_source(group, copy)
        if linked is None:
            same = source.tree == copy.tree
            reason = "" if same else ", and a hard link would give one owner to files of two shares"
            return Outcome("apart", source, f"{_NO_EXTENTS}{reason}")
        if not self._hard_links:
            return Outcome("apart", linked, f"{_NO_EXTENTS}, and hard links are switched off")
        problem = duplicates.find_link_problem(linked, copy)
        if not problem and not self._check_mode:
            problem = self._link(group.sha256, linked, copy)
        return Outcome("apart" if problem else "linked", linked, problem)

    def _share(self, source: Copy, copy: Copy) -> str:
        """Let a copy share the extents of a file, as the copy's owner. Return why it does not; empty if it does."""
        trees = self._library.trees
        try:
            with access.acting_as(trees[source.tree].owner):
                top = model_tree.open_top(trees[source.tree].path)
                try:
                    kept = model_tree.open_file(top, source.file.path)
                finally:
                    os.close(top)
        except OSError as error:
            return error.strerror or str(error)

        def work(send: Callable[[Any], None]) -> None:
            replaced = model_tree.open_file(model_tree.open_top(trees[copy.tree].path), copy.file.path)
            if not self._read(source).is_of(os.fstat(kept)) or not copy.file.is_of(os.fstat(replaced)):
                send(_CHANGED)
            elif not extents.can_share(kept, replaced):
                send(_UNSUPPORTED)
            else:
                try:
                    if not self._check_mode:
                        extents.share(kept, replaced, copy.file.size)
                    send("")
                except extents.Different:
                    send(_CHANGED)

        try:
            (answer,) = self._library.stream(work, copy.tree, kept)
            return str(answer)
        except OSError as error:
            return error.strerror or str(error)
        finally:
            os.close(kept)

    def _link(self, digest: str, source: Copy, copy: Copy) -> str:
        """Replace all names of a copy by links. Return why one was not; empty where all were."""

        def work(send: Callable[[Any], None]) -> None:
            top = model_tree.open_top(self._library.trees[copy.tree].path)
            kept, replaced = self._read(source), copy.file
            for name in copy.files:
                try:
                    statuses = hard_links.replace_by_link(top, kept, replace(replaced, path=name.path))
                except (hard_links.NotLinked, OSError) as error:
                    send(["failed", str(error)])
                    return
                kept, replaced = (model_tree.make_file(kept.path, statuses[0]), model_tree.make_file("", statuses[1]))
                send(["linked", name.path, asdict(kept)])

        problem = ""
        for kind, *values in self._library.stream(work, copy.tree):
            if kind == "failed":
                problem = values[0]
                continue
            path, new = values[0], File(**values[1])
            old = self._read(source)
            self._current[source.file.identity] = new
            self._changed = True
            for name in source.files:
                self._library.replace_entry(source.tree, old, name.path, digest, new)
            self._library.replace_entry(copy.tree, copy.file, path, digest, new)
        return problem

    def _read(self, copy: Copy) -> File:
        """Return a file as it is after the links that this run made to it."""
        return self._current.get(copy.file.identity, copy.file)


def _is_joined(group: Group, copy: Copy, places: dict[tuple[int, int], list[extents.Extent]]) -> bool:
    """Return whether a copy shares its extents with a file of its group."""
    own = places.get(copy.file.identity, [])
    return any(
        extents.are_shared(places.get(source.file.identity, []), own) for source in duplicates.find_sources(group, copy)
    )


def _make_row(group: Group, copy: Copy, outcome: Outcome) -> dict[str, Any]:
    return {
        "share": copy.tree,
        "path": shared_trees.show_path(copy.file.path),
        "same_as": shared_trees.show_path(f"{outcome.source.tree}/{outcome.source.file.path}"),
        "sha256": group.sha256,
        "size": copy.file.size,
        "state": outcome.state,
        "message": outcome.message,
    }
