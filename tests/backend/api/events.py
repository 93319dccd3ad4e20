# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A subscriber of events: reads a stream, and knows from where to go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from noslop_backend.api.paths import PREFIX


@dataclass(frozen=True)
class Received:
    """A block of a stream. `kind` is empty where it only has an id."""

    kind: str
    id: str
    data: dict[str, Any]


def blocks(lines: Iterator[str]) -> Iterator[Received]:
    """Read blocks as browsers do: one ends at an empty line."""
    kind, event_id, data = "", "", ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "id":
            event_id = value
        elif name == "data":
            data += value
        elif not line:
            yield Received(kind, event_id, json.loads(data) if data else {})
            kind, data = "", ""


@contextmanager
def following(client: httpx.Client, last: str | None = None, **params: Any) -> Iterator[Iterator[Received]]:  # noqa: ANN401 - words of a query
    """Follow until the end of the block; the first block is the beginning of the stream."""
    headers = {} if last is None else {"Last-Event-ID": last}
    with client.stream("GET", f"{PREFIX}/events", params=params, headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        yield blocks(answer.iter_lines())


def since(client: httpx.Client, last: str | None = None, **params: Any) -> list[Received]:  # noqa: ANN401 - words of a query
    """Everything until now; the last one is where to go on."""
    with following(client, last, follow=False, **params) as stream:
        return list(stream)


def kinds(received: list[Received]) -> list[str]:
    """The kinds of those that are events."""
    return [each.kind for each in received if each.kind]
