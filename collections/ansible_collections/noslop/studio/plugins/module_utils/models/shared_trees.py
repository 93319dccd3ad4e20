# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List and hash the files of a studio's shares of models, each as its owner, and remember what was read."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.models import (
    extents,
    hard_links,
    model_tree,
    progress,
    record,
)
from ansible_collections.noslop.studio.plugins.module_utils.models.duplicates import Copy
from ansible_collections.noslop.studio.plugins.module_utils.models.model_tree import File
from ansible_collections.noslop.studio.plugins.module_utils.share import access

#: The share whose files the catalogue names.
CATALOGUE_TREE = "comfyui_models"


class TreeError(Exception):
    """A share cannot be read. The message is for the user who has to repair it."""


@dataclass(frozen=True)
class Tree:
    """A share of models: its name in the marker, its path, and the account that owns it, which may be missing."""

    name: str
    path: str
    account: str
    owner: worker_processes.Account | None


@dataclass(frozen=True)
class Skipped:
    """A file that was not compared, and the reason."""

    tree: str
    path: str
    message: str


def check(trees: Iterable[Tree], studio_id: str, *, check_mode: bool) -> list[Tree]:
    """Return the shares that can be used. In check mode, those that are not made yet are left out.

    Raises:
        TreeError: a share has no owner on this host.
        access.ShareError: a share is missing, or is another one.
    """
    ready = []
    for tree in trees:
        if check_mode and (tree.owner is None or not os.path.isdir(tree.path)):
            continue
        if tree.owner is None:
            raise TreeError(f"There is no account {tree.account} here. Run the playbook storage first.")
        access.check_marker(tree.path, tree.name, studio_id, tree.owner)
        ready.append(tree)
    return ready


def show_path(path: str) -> str:
    """Return a path as text that every program can print: bytes that are no UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class Library:
    """The files of several shares. Nothing is recorded without ``run_directory``, which check mode leaves out."""

    def __init__(
        self,
        trees: Sequence[Tree],
        *,
        record_directory: str,
        run_directory: str = "",
        kept_descriptors: Collection[int] = (),
        min_age_s: float = 0,
    ) -> None:
        """Start with the record of what was read before."""
        self.trees = {tree.name: tree for tree in trees}
        self.skipped: list[Skipped] = []
        self._record_directory, self._run_directory = record_directory, run_directory
        self._kept_descriptors, self._min_age_s = kept_descriptors, min_age_s
        self._fetched = record.read(record_directory)
        self._hashed = record.read(record_directory, record.HASHED)

    def stream(self, work: Callable[[Callable[[Any], None]], None], tree: str, *more: int) -> Iterable[Any]:
        """Run a function in a worker as the owner of a share, with further open files, and yield what it sends."""
        return worker_processes.stream(work, self.trees[tree].owner, [*self._kept_descriptors, *more])

    def scan(self, *, finish_links: bool = False) -> dict[str, list[File]]:
        """Return the files of each share. With ``finish_links``, what a run left that was ended is ended first."""
        listed: dict[str, list[File]] = {}
        for name, tree in self.trees.items():
            files, reports = self._scan_tree(tree)
            if finish_links and any(reason == model_tree.LEFT for __, reason in reports):
                self._finish(tree, [path for path, reason in reports if reason == model_tree.LEFT])
                files, reports = self._scan_tree(tree)
            listed[name] = files
            self.skipped += [Skipped(name, path, reason) for path, reason in reports]
        return listed

    def _scan_tree(self, tree: Tree) -> tuple[list[File], list[tuple[str, str]]]:
        def work(send: Callable[[Any], None]) -> None:
            top = model_tree.open_top(tree.path)
            for file in model_tree.scan(top, lambda path, reason: send([path, reason])):
                send(asdict(file))

        files, reports = [], []
        for value in self.stream(work, tree.name):
            if isinstance(value, dict):
                files.append(File(**value))
            else:
                reports.append((value[0], value[1]))
        return files, reports

    def _finish(self, tree: Tree, paths: list[str]) -> None:
        def work(send: Callable[[Any], None]) -> None:
            top = model_tree.open_top(tree.path)
            for path in paths:
                # What cannot be brought to an end stays, and is listed again.
                with contextlib.suppress(OSError):
                    hard_links.finish(top, path)

        for __ in self.stream(work, tree.name):
            pass

    def hash(self, copies: Iterable[Copy]) -> dict[tuple[int, int], str]:
        """Return the SHA-256 of files by their identity, and read those only that were not read before.

        Files that changed a short time ago, or while they were read, are skipped.
        """
        digests: dict[tuple[int, int], str] = {}
        unread: dict[str, list[Copy]] = {}
        now = time.time()
        for copy in copies:
            digest = next(filter(None, (self._find_digest(copy.tree, file) for file in copy.files)), "")
            if digest:
                digests[copy.file.identity] = digest
            elif now - copy.file.changed_ns / 1e9 < self._min_age_s:
                self._skip(copy, f"it changed less than {self._min_age_s:g} seconds ago")
            else:
                unread.setdefault(copy.tree, []).append(copy)
        rows = [progress.Row(_label(copy), size=copy.file.size) for listed in unread.values() for copy in listed]
        shown = progress.Progress(rows, self._run_directory) if self._run_directory else None
        for tree, listed in unread.items():
            for number, kind, value in self.stream(_make_hash_work(self.trees[tree].path, listed), tree):
                copy = listed[number]
                if kind == "read":
                    if shown:
                        shown.update(_label(copy), value, copy.file.size)
                    continue
                if kind == "digest":
                    digests[copy.file.identity] = value
                    self._remember(copy, value)
                else:
                    self._skip(copy, value)
                if shown:
                    shown.end(_label(copy), "verified" if kind == "digest" else "failed")
        return digests

    def measure(self, copies: Iterable[Copy]) -> dict[tuple[int, int], list[extents.Extent]]:
        """Return where files lie on the disk, by their identity; those that changed are left out."""
        by_tree: dict[str, list[Copy]] = {}
        for copy in copies:
            by_tree.setdefault(copy.tree, []).append(copy)
        places: dict[tuple[int, int], list[extents.Extent]] = {}
        for tree, listed in by_tree.items():
            for number, values in self.stream(_make_measure_work(self.trees[tree].path, listed), tree):
                places[listed[number].file.identity] = [extents.Extent(*value) for value in values]
        return places

    def replace_entry(self, tree: str, old: File, path: str, digest: str, new: File) -> None:
        """Record that a path has this content, and is a file that was just joined.

        Args:
            tree: the share.
            old: the file that the path had before.
            path: the path.
            digest: SHA-256 of both.
            new: the file that it has now.
        """
        entry = self._fetched.get(path) if tree == CATALOGUE_TREE else None
        if entry and entry.sha256 == digest and _is_entry_of(entry, old):
            self._fetched[path] = record.Entry(digest, new.size, new.inode, new.changed_ns, entry.url)
            record.write(self._record_directory, self._fetched)
        self._hashed[f"{tree}/{path}"] = record.Entry(digest, new.size, new.inode, new.changed_ns, "")
        record.write(self._record_directory, self._hashed, record.HASHED)

    def _remember(self, copy: Copy, digest: str) -> None:
        if self._run_directory:
            file = copy.file
            entry = record.Entry(digest, file.size, file.inode, file.changed_ns, "")
            self._hashed |= {f"{copy.tree}/{one.path}": entry for one in copy.files}
            record.write(self._record_directory, self._hashed, record.HASHED)

    def _find_digest(self, tree: str, file: File) -> str:
        """Return the SHA-256 that was recorded of a file; empty where it was not read, or changed since."""
        entries = [self._hashed.get(f"{tree}/{file.path}")]
        if tree == CATALOGUE_TREE:
            entries.append(self._fetched.get(file.path))
        return next((entry.sha256 for entry in entries if entry and _is_entry_of(entry, file)), "")

    def _skip(self, copy: Copy, message: str) -> None:
        self.skipped.append(Skipped(copy.tree, copy.file.path, message))


def _is_entry_of(entry: record.Entry, file: File) -> bool:
    return entry.matches(file.size, file.inode, file.changed_ns)


def _label(copy: Copy) -> str:
    return show_path(f"{copy.tree}/{copy.file.path}")


def _make_hash_work(path: str, copies: Sequence[Copy]) -> Callable[[Callable[[Any], None]], None]:
    """Return the function that hashes files in a worker, and sends the number of each with what it read."""

    def work(send: Callable[[Any], None]) -> None:
        model_tree.lower_priority()
        top = model_tree.open_top(path)
        for number, copy in enumerate(copies):
            send([number, *_hash_one(top, copy.file, _report_at_times(send, number))])

    return work


def _report_at_times(send: Callable[[Any], None], number: int) -> Callable[[int], None]:
    """Return a function that sends the bytes so far, at most once in an interval."""
    sent = [0.0]

    def report(count: int) -> None:
        if time.monotonic() - sent[0] >= progress.INTERVAL_S:
            sent[0] = time.monotonic()
            send([number, "read", count])

    return report


def _hash_one(top: int, file: File, report: Callable[[int], None]) -> tuple[str, str]:
    """Return the digest of a file, or why there is none."""
    try:
        descriptor = model_tree.open_file(top, file.path)
    except OSError as error:
        return "skipped", error.strerror or str(error)
    try:
        digest = model_tree.hash_file(descriptor, report)
        if not file.is_of(os.fstat(descriptor)):
            return "skipped", "it changed while it was read"
        return "digest", digest
    except OSError as error:
        return "skipped", error.strerror or str(error)
    finally:
        os.close(descriptor)


def _make_measure_work(path: str, copies: Sequence[Copy]) -> Callable[[Callable[[Any], None]], None]:
    """Return the function that finds the extents of files in a worker."""

    def work(send: Callable[[Any], None]) -> None:
        top = model_tree.open_top(path)
        for number, copy in enumerate(copies):
            try:
                descriptor = model_tree.open_file(top, copy.file.path)
            except OSError:
                continue
            try:
                places = extents.read_extents(descriptor)
                send([number, [[one.logical, one.physical, one.length] for one in places]])
            finally:
                os.close(descriptor)

    return work
