# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follow what changes, as server-sent events."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import Field

from noslop_backend.api.auth import READ_FILTERED, CallerDep
from noslop_backend.api.deps import StateDep
from noslop_backend.api.event_stream import HEADERS, MEDIA_TYPE, EventStream
from noslop_backend.api.parameters import Absent, GivenProjectId
from noslop_backend.api.problems import described
from noslop_backend.api.route import StrictRoute
from noslop_backend.schemas.events import EventKind
from noslop_backend.services.events import Wanted

router = APIRouter(route_class=StrictRoute, tags=["events"])
EventId = Annotated[str, Field(max_length=100)]
#: One event, as programs read it; `data` is a text that holds JSON.
_EVENT = {"type": "object", "properties": {name: {"type": "string"} for name in ("event", "id", "data")}}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events, each with `event` (its kind, or `reload`), `id`, and the schema `Event` as `data`.",
        "content": {MEDIA_TYPE: {"schema": _EVENT}},
    }
}
_HEAD: dict[int | str, dict[str, Any]] = {200: {"description": "What a GET would say of it."}}


@router.get(
    "/events",
    operation_id="followEvents",
    dependencies=[READ_FILTERED],
    response_class=Response,
    responses={**described(404), **_STREAM},
)
async def follow_events(
    *,
    state: StateDep,
    caller: CallerDep,
    project: Annotated[GivenProjectId | Absent, Query(description="only events of this project")] = None,
    kinds: Annotated[
        Annotated[list[EventKind], Field(max_length=32)] | Absent,
        Query(alias="kind", description="only these kinds; give it once for each"),
    ] = None,
    last_event_id: Annotated[
        EventId | Absent, Query(description="go on from this event; the header Last-Event-ID wins over it")
    ] = None,
    last_event_id_header: Annotated[
        EventId | Absent, Header(alias="Last-Event-ID", description="go on from this event; browsers send it")
    ] = None,
    follow: Annotated[bool, Query(description="false: end after what has happened until now")] = True,
) -> Response:
    """Send what changes, as it changes; with the id of an event, first everything that came after it.

    An event named `reload` says that events are missing: read the lists again. A stream that breaks off loses nothing:
    ask again with the id of the last event.
    """
    if project is not None:
        caller.require_project(project)
    wanted = Wanted(frozenset(kinds or ()), project, caller.projects)
    last = last_event_id if last_event_id_header is None else last_event_id_header
    return EventStream(state, caller, wanted, last, follow=follow)


@router.head(
    "/events",
    operation_id="headEvents",
    dependencies=[READ_FILTERED],
    response_class=Response,
    responses=_HEAD,
)
async def head_events() -> Response:
    """Return the headers of a GET of events."""
    return Response(headers=HEADERS, media_type=MEDIA_TYPE)
