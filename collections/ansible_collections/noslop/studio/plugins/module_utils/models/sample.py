# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a sample of the models on the storage server with their checksums, first what was not read for longest.

A disk that fails silently is noticed by reading all of it now and then. What was compared is in ``checked.json`` of the
record's directory, and what is damaged in ``damaged.json``: files of root's, which only the daily check writes.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.models import (
    file_hash,
    ollama_store,
    page_cache,
    record,
    whole_file,
)
from ansible_collections.noslop.studio.plugins.module_utils.models.warm import FILES, Share
from ansible_collections.noslop.studio.plugins.module_utils.share import access

_DAMAGED = "damaged.json"
_REPAIR = "Move it away, and fetch it again: noslop-driver models pull"


@dataclass(frozen=True)
class Catalogue:
    """The models that are checked: files by path, each with its SHA-256 or an empty text, and Ollama's by name."""

    files: Mapping[str, str] = field(default_factory=dict)
    ollama: Sequence[str] = ()


@dataclass(frozen=True)
class Candidate:
    """A file that can be compared. ``path`` is below its share, ``size`` in bytes, ``verified_at`` 0 for never."""

    share: str
    path: str
    sha256: str
    size: int
    verified_at: float
    model: str

    @property
    def key(self) -> str:
        """Return its name in the records of the daily check."""
        return f"{self.share}/{self.path}"


@dataclass(frozen=True)
class Damage:
    """A file whose content is not what it was, as it was when that was observed: see :class:`record.Entry`.

    ``error`` is set in place of ``actual``, its SHA-256, where it cannot be read.
    """

    path: str
    model: str
    expected: str
    actual: str
    error: str
    size: int
    inode: int
    changed_ns: int
    noticed_at: float

    def is_of(self, status: os.stat_result) -> bool:
        """Return whether the file is still the damaged one."""
        return (self.size, self.inode, self.changed_ns) == (status.st_size, status.st_ino, status.st_ctime_ns)

    @property
    def message(self) -> str:
        """Return what is wrong, and what to do."""
        if self.error:
            return (
                f"{self.path} of {self.model} cannot be read: {self.error}. Look at its owner and mode, and at the "
                "disk: journalctl --dmesg"
            )
        return (
            f"{self.path} of {self.model} is damaged: its SHA-256 is {self.actual}, and was {self.expected}. {_REPAIR}"
        )


@dataclass(frozen=True)
class Result:
    """The result of one day: the files that were compared and are right, their bytes, and all that are damaged."""

    verified: list[str]
    size: int
    damaged: list[Damage]


def choose(candidates: Iterable[Candidate], limit_bytes: int) -> list[Candidate]:
    """Return those that were not read for longest, as far as they fit into the limit.

    The first one is chosen in any case: a model that is larger than the limit would else never be read.
    """
    chosen: list[Candidate] = []
    left = limit_bytes
    for one in sorted(candidates, key=lambda one: (one.verified_at, one.key)):
        if not chosen or one.size <= left:
            chosen.append(one)
            left -= one.size
    return chosen


def check(catalogue: Catalogue, shares: Mapping[str, Share], limit_bytes: int, directory: str) -> Result:
    """Compare the sample of a day, and write down what was compared and what is damaged.

    Args:
        catalogue: the models.
        shares: by name; their markers have been checked.
        limit_bytes: read no more than that, except for a single file that is larger.
        directory: the record's.

    Raises:
        OSError: a share does not answer, or the record cannot be written.
    """
    checked = record.read(directory, record.CHECKED)
    damaged = {
        key: damage for key, damage in _read_damaged(directory).items() if _still_applies(damage, shares, directory)
    }
    candidates = list_candidates(catalogue, shares, record.read(directory), checked)
    chosen = choose((one for one in candidates if one.key not in damaged), limit_bytes)
    verified, size = [], 0
    for share in shares.values():
        own = {one.key: one for one in chosen if one.share == share.name}
        for key, error, entry in _read_all(list(own.values()), share):
            one = own[key]
            size += one.size
            if not error and entry.sha256 == one.sha256:
                checked[key] = entry
                verified.append(one.path)
            else:
                damaged[key] = Damage(
                    path=os.path.join(share.path, one.path),
                    model=one.model,
                    expected=one.sha256,
                    actual=entry.sha256,
                    error=error,
                    size=entry.size,
                    inode=entry.inode,
                    changed_ns=entry.changed_ns,
                    noticed_at=entry.verified_at,
                )
            # After each file: a check that is cut off does not read the same files again.
            _write(directory, checked, damaged)
    listed = {one.key for one in candidates}
    _write(directory, {key: entry for key, entry in checked.items() if key in listed}, damaged)
    return Result(verified, size, list(damaged.values()))


def list_candidates(
    catalogue: Catalogue,
    shares: Mapping[str, Share],
    fetched: Mapping[str, record.Entry],
    checked: Mapping[str, record.Entry],
) -> list[Candidate]:
    """Return the files of the catalogue that are on the shares and have a checksum.

    Raises:
        OSError: a share does not answer.
    """
    works = {
        share.name: functools.partial(_list_files, share.path, catalogue.files, fetched)
        if share.name == FILES
        else functools.partial(_list_blobs, share.path, catalogue.ollama)
        for share in shares.values()
    }
    candidates = []
    for share in shares.values():
        outcome = worker_processes.run_one(works[share.name], share.account, access.SHARE_TIMEOUT_S)
        if outcome.error:
            raise OSError(f"{share.path} cannot be listed: {outcome.error}")
        for path, sha256, model, size, inode, changed_ns in outcome.value:
            entries = [entry for entry in (fetched.get(path), checked.get(f"{share.name}/{path}")) if entry]
            times = [
                entry.verified_at
                for entry in entries
                if (entry.size, entry.inode, entry.changed_ns, entry.sha256) == (size, inode, changed_ns, sha256)
            ]
            candidates.append(Candidate(share.name, path, sha256, size, max(times, default=0.0), model))
    return candidates


def read_damaged(directory: str, shares: Mapping[str, Share]) -> list[Damage]:
    """Return what the daily check noticed, without files that were replaced or compared with success since."""
    return [damage for damage in _read_damaged(directory).values() if _still_applies(damage, shares, directory)]


def _list_files(share: str, files: Mapping[str, str], fetched: Mapping[str, record.Entry]) -> list[list[Any]]:
    """Return path, SHA-256, model and status of the files that are there and have a checksum."""
    listed = []
    for path, sha256 in files.items():
        expected = sha256 or (fetched[path].sha256 if path in fetched else "")
        if expected and os.path.isfile(os.path.join(share, path)):
            status = os.stat(os.path.join(share, path))
            listed.append([path, expected, path, status.st_size, status.st_ino, status.st_ctime_ns])
    return listed


def _list_blobs(share: str, names: Sequence[str]) -> list[list[Any]]:
    """Return the same of each blob of the models of Ollama's. A model that is not pulled as a whole is left out."""
    listed: dict[str, list[Any]] = {}
    for name in names:
        try:
            for digest in ollama_store.list_blobs(name, share):
                path = os.path.join("blobs", f"sha256-{digest}")
                status = os.stat(os.path.join(share, path))
                listed[path] = [path, digest, name, status.st_size, status.st_ino, status.st_ctime_ns]
        except (ollama_store.StoreError, FileNotFoundError):
            continue
    return list(listed.values())


def _read_all(chosen: Sequence[Candidate], share: Share) -> Iterator[tuple[str, str, record.Entry]]:
    """Read files as the account that owns the share. Yield key, error and record's entry of each."""
    if not chosen:
        return

    def work(send: Callable[[Any], None]) -> None:
        for one in chosen:
            path = os.path.join(share.path, one.path)
            actual = error = ""
            try:
                status = os.stat(path)
                actual, __ = file_hash.read_sha256(path, keep_in_memory=_is_in_use(path))
            except FileNotFoundError:
                continue  # it was removed since it was listed
            except OSError as reason:
                error = reason.strerror or str(reason)
            send([one.key, error, asdict(record.make_entry(actual, "", status))])

    for key, error, values in worker_processes.stream(work, share.account):
        yield key, error, record.Entry(**values)


def _is_in_use(path: str) -> bool:
    """Return whether anything of a file is in memory: then it is warm, or a program uses it."""
    try:
        descriptor = page_cache.open_file(path)
    except PermissionError:
        return True
    try:
        return page_cache.count_resident(descriptor, os.fstat(descriptor).st_size) > 0
    finally:
        os.close(descriptor)


def _read_damaged(directory: str) -> dict[str, Damage]:
    try:
        with open(os.path.join(directory, _DAMAGED), encoding="utf-8") as stream:
            return {key: Damage(**values) for key, values in json.load(stream).items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


def _still_applies(damage: Damage, shares: Mapping[str, Share], directory: str) -> bool:
    """Return whether a damaged file is still there, and no later run read it and found it right."""
    share = next((one for one in shares.values() if damage.path.startswith(f"{one.path}/")), None)
    if share is None:
        return False
    outcome = worker_processes.run_one(lambda: _is_same(damage), share.account, access.SHARE_TIMEOUT_S)
    entry = record.read(directory).get(os.path.relpath(damage.path, share.path))
    is_right = entry is not None and entry.sha256 == damage.expected and entry.verified_at > damage.noticed_at
    return (bool(outcome.value) or bool(outcome.error)) and not is_right


def _is_same(damage: Damage) -> bool:
    try:
        return damage.is_of(os.stat(damage.path))
    except FileNotFoundError:
        return False


def _write(directory: str, checked: Mapping[str, record.Entry], damaged: Mapping[str, Damage]) -> None:
    record.write(directory, checked, record.CHECKED)
    content = {key: asdict(damage) for key, damage in sorted(damaged.items())}
    whole_file.write_json(os.path.join(directory, _DAMAGED), content)
