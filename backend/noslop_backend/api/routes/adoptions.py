# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adopting: a worker writes a file into the share itself, and the backend takes it in without moving a byte."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from noslop_backend.api.auth import WRITE
from noslop_backend.api.deps import StateDep
from noslop_backend.api.parameters import INPUTS_LIMIT, INSPECT, Body, GivenId, Key, ProjectId, TicketId
from noslop_backend.api.paths import locate
from noslop_backend.api.problems import described
from noslop_backend.api.route import StrictRoute
from noslop_backend.api.routes.uploads import IntermediateKind, MediaKind
from noslop_backend.schemas import AdoptionTicket, FilePublic, JsonObject, Length, Title
from noslop_backend.share.layout import FileKind

router = APIRouter(route_class=StrictRoute, prefix="/projects/{project_id}/adoptions", tags=["adoptions"])


class Reservation(Body):
    """What will be adopted. Without a kind it is generated media, of whatever type the content is."""

    name: Title
    size_bytes: Length
    kind: MediaKind | IntermediateKind | None = None
    inputs: Annotated[list[GivenId], Field(max_length=INPUTS_LIMIT, default_factory=list)]
    parameters: JsonObject | None = None
    inspect: bool = Field(default=True, description=INSPECT)


class Announced(Body):
    """What the worker knows of the file it wrote."""

    blake3: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


@router.post("", operation_id="reserveAdoption", status_code=201, dependencies=[WRITE], responses=described(404, 409))
async def reserve_adoption(
    project_id: ProjectId, reservation: Reservation, state: StateDep, key: Key = None
) -> AdoptionTicket:
    """Reserve bytes, and a path on the share where one file may be written. The ticket expires: see `renewAdoption`."""
    return await state.disk.run_async(
        state.storage.reserve_adoption,
        project_id,
        None if reservation.kind is None else FileKind(reservation.kind),
        reservation.name,
        reservation.size_bytes,
        inputs=reservation.inputs,
        parameters=reservation.parameters,
        inspect=reservation.inspect,
        key=key,
    )


@router.post("/{ticket_id}/renew", operation_id="renewAdoption", dependencies=[WRITE], responses=described(404, 409))
async def renew_adoption(project_id: ProjectId, ticket_id: TicketId, state: StateDep) -> AdoptionTicket:
    """Prolong a ticket while the worker writes."""
    return await state.disk.run_async(state.storage.renew_adoption, project_id, ticket_id)


@router.post(
    "/{ticket_id}/adopt",
    operation_id="adopt",
    status_code=201,
    dependencies=[WRITE],
    responses=described(404, 409, 415),
)
async def adopt(
    *,
    project_id: ProjectId,
    ticket_id: TicketId,
    state: StateDep,
    request: Request,
    response: Response,
    announced: Announced | None = None,
) -> FilePublic:
    """Publish the file that was written and closed. Asked again, the answer is the same."""
    expected = announced.blake3 if announced else None
    file = await state.disk.run_async(state.storage.adopt, project_id, ticket_id, expected_blake3=expected)
    response.headers["Location"] = locate(request, f"/projects/{project_id}/files/{file.id}")
    return file


@router.delete(
    "/{ticket_id}",
    operation_id="releaseAdoption",
    status_code=204,
    dependencies=[WRITE],
    responses=described(404, 409),
)
async def release_adoption(project_id: ProjectId, ticket_id: TicketId, state: StateDep) -> None:
    """Release a ticket: its bytes are free again, and what was written is removed."""
    await state.disk.run_async(state.storage.release_adoption, project_id, ticket_id)
