# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read models of a share into this host's memory, as far as a part of it goes.

A model that does not fit is not read: with half of it in memory, a program reads the other half as slowly, and what was
in memory before is lost.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.models import ollama_store, page_cache
from ansible_collections.noslop.studio.plugins.module_utils.share import access

FILES, BLOBS = "comfyui_models", "ollama_models"
#: States of a model: in memory as a whole, in part, not at all; larger than the memory for it; not on the share.
WARM, PARTLY, COLD, NO_ROOM, MISSING, FAILED = "warm", "partly", "cold", "no_room", "missing", "failed"


@dataclass(frozen=True)
class Share:
    """A share with models. ``account`` owns it."""

    name: str
    path: str
    account: worker_processes.Account | None


@dataclass(frozen=True)
class Model:
    """A model that is to be in memory: the path of a file below ComfyUI's share, or a name of Ollama's."""

    path: str = ""
    ollama: str = ""

    @property
    def name(self) -> str:
        """Return what people call it."""
        return self.path or self.ollama

    @property
    def share(self) -> str:
        """Return the name of its share."""
        return FILES if self.path else BLOBS

    def list_files(self, share: str) -> list[str]:
        """Return the paths of its files. Raises StoreError where Ollama has no such model."""
        if self.path:
            return [os.path.join(share, self.path)]
        return [
            os.path.join(share, "blobs", f"sha256-{digest}") for digest in ollama_store.list_blobs(self.ollama, share)
        ]


@dataclass
class Row:
    """A model as it is on this host. Sizes are in bytes; ``read`` are those that this run read."""

    path: str
    state: str = COLD
    size: int = 0
    resident: int = 0
    read: int = 0
    message: str = ""

    def update_state(self) -> None:
        """Set the state by what is in memory."""
        self.state = WARM if self.resident >= self.size else PARTLY if self.resident else COLD


def read_limit(percent: float, path: str = "/proc/meminfo") -> int:
    """Return this share of the memory that programs could have now (MemAvailable, proc(5)), in bytes.

    Pages of files count as available, also those of models that are warm already.
    """
    with open(path, encoding="ascii") as stream:
        match = re.search(r"(?m)^MemAvailable:\s+(\d+) kB$", stream.read())
    return int(int(match[1]) * 1024 * percent / 100) if match else 0


def choose(rows: Iterable[Row], limit_bytes: int) -> list[Row]:
    """Return the models that fit into the limit, in their order. The others get the state ``no_room``.

    One that is in memory as a whole without fitting stays ``warm``, and is not read.
    """
    chosen, left = [], limit_bytes
    for row in rows:
        if row.state in (MISSING, FAILED):
            continue
        if row.size <= left:
            left -= row.size
            chosen.append(row)
        elif row.state != WARM:
            row.state = NO_ROOM
            row.message = f"it has {row.size} bytes, and {left} are left of the {limit_bytes} for warm models"
    return chosen


def measure(
    models: Sequence[Model], shares: Mapping[str, Share], timeout_s: float = access.SHARE_TIMEOUT_S
) -> list[Row]:
    """Return each model as it is, without reading it."""
    rows = {model.name: Row(model.name) for model in models}
    for share, own in _group(models, shares):
        work = functools.partial(_measure_all, own, share.path)
        outcome = worker_processes.run_one(work, share.account, timeout_s)
        for model in own if outcome.error else ():
            rows[model.name] = Row(model.name, FAILED, message=f"{share.path}: {outcome.error}")
        rows.update((values["path"], Row(**values)) for values in outcome.value or ())
    return list(rows.values())


def warm(
    models: Sequence[Model],
    shares: Mapping[str, Share],
    limit_bytes: int,
    report: Callable[[Row], None] = lambda _: None,
) -> list[Row]:
    """Read the models that fit into the limit. Return all of them as they are then.

    Args:
        models: in the order in which they are read.
        shares: by name; their markers have been checked.
        limit_bytes: for all models together.
        report: gets each model that was read.
    """
    rows = measure(models, shares)
    by_name = {row.path: row for row in rows}
    chosen = {row.path for row in choose(rows, limit_bytes) if row.state != WARM}
    for share, own in _group([model for model in models if model.name in chosen], shares):

        def work(send: Callable[[Any], None], own: Sequence[Model] = own, path: str = share.path) -> None:
            for model in own:
                send(asdict(_visit(model, path, page_cache.read_missing)))

        try:
            for values in worker_processes.stream(work, share.account):
                vars(by_name[values["path"]]).update(values)
                report(by_name[values["path"]])
                chosen.discard(values["path"])
        except OSError as error:
            for model in own:
                if model.name in chosen:
                    by_name[model.name].state, by_name[model.name].message = FAILED, str(error)
    return rows


def _group(models: Iterable[Model], shares: Mapping[str, Share]) -> list[tuple[Share, list[Model]]]:
    """Return each share with its models."""
    listed = list(models)
    groups = [(share, [model for model in listed if model.share == share.name]) for share in shares.values()]
    return [(share, own) for share, own in groups if own]


def _measure_all(models: Sequence[Model], share: str) -> list[dict[str, Any]]:
    return [asdict(_visit(model, share, lambda *_: 0)) for model in models]


def _visit(model: Model, share: str, visit: Callable[[int, int], int]) -> Row:
    """Open each file of a model. Return the model, with what ``visit`` read and what is in memory then."""
    row = Row(model.name)
    try:
        for path in model.list_files(share):
            descriptor = page_cache.open_file(path)
            try:
                size = os.fstat(descriptor).st_size
                row.size += size
                row.read += visit(descriptor, size)
                row.resident += page_cache.count_resident(descriptor, size)
            finally:
                os.close(descriptor)
    except FileNotFoundError:
        row.state, row.message = MISSING, "it is not fetched yet: noslop-driver models pull"
    except ollama_store.StoreError as error:
        is_missing = isinstance(error.__cause__, FileNotFoundError)
        row.state, row.message = MISSING if is_missing else FAILED, str(error)
    except OSError as error:
        row.state, row.message = FAILED, f"{error.filename or model.name}: {error.strerror or error}"
    else:
        row.update_state()
    return row
