# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search over all files that a token may see."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, Field, WithJsonSchema

from noslop_backend.api.auth import READ_FILTERED, CallerDep
from noslop_backend.api.deps import StateDep
from noslop_backend.api.parameters import Absent, Cursor, GivenProjectId, InOrder, Kinds, Limit, Order
from noslop_backend.api.problems import described
from noslop_backend.api.route import StrictRoute
from noslop_backend.repositories.search_words import QUERY_LIMIT
from noslop_backend.schemas import SearchPage, Text
from noslop_backend.schemas.labels import Rating, Tag

router = APIRouter(route_class=StrictRoute, tags=["search"])


def _text(low: int, high: int) -> WithJsonSchema:
    """Describe a text of so many characters: constraints beside those of `Text` are not described by themselves."""
    return WithJsonSchema({"type": "string", "minLength": low, "maxLength": high, "pattern": r"^[^\u0000]*$"})


Words = Annotated[Text, Field(max_length=QUERY_LIMIT), _text(0, QUERY_LIMIT)]
ModelName = Annotated[Text, Field(min_length=1, max_length=400), _text(1, 400)]
Pixels = Annotated[int, Field(ge=0, lt=2**63)]
Since = Annotated[Text, Field(max_length=64), _text(0, 64)]


@router.get("/search", operation_id="searchFiles", dependencies=[READ_FILTERED], responses=described(404))
def search_files(
    *,
    state: StateDep,
    caller: CallerDep,
    q: Annotated[
        Words,
        Query(description='words that must all be there; `word*` is the beginning of one, `"two words"` a phrase'),
    ] = "",
    project: Annotated[GivenProjectId | Absent, Query(description="only files of this project")] = None,
    kinds: Kinds = None,
    model: Annotated[
        ModelName | Absent,
        Query(description="only files made with this model or LoRA: its path, or its file's name"),
    ] = None,
    seed: Annotated[
        Annotated[int, Field(ge=-(2**63), lt=2**64)] | Absent, Query(description="only files made with this seed")
    ] = None,
    width: Annotated[Pixels | Absent, Query(description="only pictures and videos of this width, in pixels")] = None,
    height: Annotated[Pixels | Absent, Query(description="only pictures and videos of this height, in pixels")] = None,
    tags: Annotated[
        Annotated[list[Tag], Field(max_length=16)] | Absent,
        Query(alias="tag", description="only files with all of these tags"),
    ] = None,
    min_rating: Annotated[
        Rating | Absent,
        Query(description="only files with this many stars or more"),
    ] = None,
    since: Annotated[
        Since | Absent,
        Query(description="only what came after this moment, or after the `latest_cursor` of an earlier search"),
    ] = None,
    until: Annotated[AwareDatetime | Absent, Query(description="only what came before this moment")] = None,
    order: InOrder = Order.DESC,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> SearchPage:
    """Find files by name, prompt, model, seed and whatever else is known of how they were made; newest first.

    With `order=asc` and `since` it lists everything new: ask again with the `latest_cursor` of the last page.
    """
    if project is not None:
        caller.require_project(project)
    return state.storage.search_files(
        q,
        only=caller.projects,
        project_id=project,
        kinds=kinds or (),
        model=model,
        seed=seed,
        width=width,
        height=height,
        tags=tags or (),
        min_rating=min_rating,
        since=since,
        until=until,
        newest_first=order == Order.DESC,
        cursor=cursor,
        limit=limit,
    )
