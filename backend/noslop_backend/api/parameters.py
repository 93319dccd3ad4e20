# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check what routes accept in paths, queries and headers, before it goes anywhere.

An id that the server cannot have made names nothing: that is "not found", and no such text gets as far as the database
or the share.
"""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Header, Path, Query
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic.json_schema import SkipJsonSchema

from noslop_backend.core.errors import InvalidRequestError, NotFoundError, RevisionConflictError
from noslop_backend.schemas import JsonObject, StoredTitle
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind

#: A parameter in the query has to fit into a request line; what is longer goes through `saveMetadata`.
QUERY_JSON_LIMIT = 16_384
INPUTS_LIMIT = 1000
_VERSION_LIMIT = 999_999_999
_ID = "[0-9a-hjkmnp-tv-z]"
_FILE_ID = f"^{_ID}{{13}}$"
#: In a query or header nothing is sent where nothing is meant; the word null would be a text.
Absent = SkipJsonSchema[None]
_REVISION = re.compile(r'"r(\d{1,9})"', re.ASCII)


def _project_id(text: str) -> str:
    if not layout.is_project_id(text):
        # Raised through pydantic, which lets pass what is no ValueError.
        raise NotFoundError(
            "There is no such project: that is no project's id. List the projects to see which there are."
        )
    return text


def _file_id(text: str) -> str:
    if not layout.is_file_id(text):
        raise NotFoundError(
            "There is no such file or document: that is no id of this service. List them to see which there are."
        )
    return text


def _ticket_id(text: str) -> str:
    if not layout.INTENT_ID.fullmatch(text):
        raise NotFoundError("There is no such ticket: that is no id of this service. Reserve an adoption first.")
    return text


_PROJECT_ID_SCHEMA = WithJsonSchema(
    {"type": "string", "pattern": f"^[a-z0-9]+(-[a-z0-9]+)*-{_ID}{{8}}$", "maxLength": 80}
)
_FILE_ID_SCHEMA = WithJsonSchema({"type": "string", "pattern": _FILE_ID})

ProjectId = Annotated[str, Path(), AfterValidator(_project_id), _PROJECT_ID_SCHEMA]
FileId = Annotated[str, Path(), AfterValidator(_file_id), _FILE_ID_SCHEMA]
DocumentId = Annotated[str, Path(), AfterValidator(_file_id), _FILE_ID_SCHEMA]
TicketId = Annotated[
    str, Path(), AfterValidator(_ticket_id), WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{32}$"})
]
#: An id in a body or a query, where a wrong one is a mistake in the request.
GivenId = Annotated[str, Field(pattern=_FILE_ID)]
#: Of one project, in one request.
FileIds = Annotated[list[GivenId], Field(min_length=1, max_length=1000)]
_BY_ID = Query(alias="file_id", description="only these files; give it once for each")
GivenFileIds = Annotated[FileIds, _BY_ID]
MaybeFileIds = Annotated[FileIds | Absent, _BY_ID]
GivenProjectId = Annotated[str, AfterValidator(_project_id), _PROJECT_ID_SCHEMA]


class Order(StrEnum):
    """The order of a list."""

    ASC = "asc"
    DESC = "desc"


InOrder = Annotated[Order, Query(description="by when things came: the newest first (`desc`), or the oldest")]
Limit = Annotated[int, Query(ge=1, le=1000, description="how many at most")]
# Constraints stand inside, where OpenAPI finds them: pydantic loses those of a union.
Cursor = Annotated[
    Annotated[str, Field(max_length=400)] | Absent, Query(description="`next_cursor` of the page before")
]
Kinds = Annotated[
    Annotated[list[FileKind], Field(max_length=16)] | Absent, Query(alias="kind", description="only these kinds")
]
_VersionNumber = Annotated[int, Field(ge=1, le=_VERSION_LIMIT)]
GivenVersion = Annotated[_VersionNumber | Absent, Query(description="by default the latest")]
Version = Annotated[_VersionNumber, Path(description="the number of a version")]
GivenName = Annotated[StoredTitle, Query(description="what people call it; data, never a path")]
Inputs = Annotated[
    Annotated[list[GivenId], Field(max_length=INPUTS_LIMIT)] | Absent,
    Query(description="ids of files of the project that it was made from; give it once for each"),
]
Hash = Annotated[
    Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | Absent, Query(description="BLAKE3 that the content has to have")
]
Key = Annotated[
    Annotated[str, Field(min_length=1, max_length=200, pattern="^[!-~]+$")] | Absent,
    Header(
        alias="Idempotency-Key",
        description="A random text, new for each request. Sent again with it, a request is done once.",
    ),
]
IfMatch = Annotated[
    Annotated[str, Field(max_length=200)] | Absent,
    Header(alias="If-Match", description='The ETag that the project had when it was read, as in "r7".'),
]
Parameters = Annotated[
    Annotated[str, Field(max_length=QUERY_JSON_LIMIT)] | Absent,
    Query(description="A JSON object: how it was made. Longer ones can be added with saveMetadata."),
]
Days = Annotated[float, Field(ge=0, le=36_500, allow_inf_nan=False)]

INSPECT = "false: what the file embeds is not read, and it needs its inputs and nothing else"
Inspect = Annotated[bool, Query(description=INSPECT)]

_OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(JsonObject)


def parameters_of(text: str | None) -> dict[str, Any] | None:
    """Read JSON that came in the query.

    Raises:
        InvalidRequestError: it is no JSON object.
    """
    if text is None:
        return None
    try:
        return _OBJECT.validate_json(text)
    except ValidationError as error:
        problems = "; ".join(problem["msg"] for problem in error.errors(include_url=False))
        raise InvalidRequestError(f"The query's `parameters` are to be a JSON object: {problems}.") from error


def older_than(days: float | None) -> timedelta | None:
    """Return an age in days as the service reads it."""
    return None if days is None else timedelta(days=days)


def etag(revision: int) -> str:
    """Return the ETag of a project's revision."""
    return f'"r{revision}"'


def expected_revision(if_match: str | None) -> int | None:
    """Return the revision that an If-Match asks for; None for any.

    Raises:
        RevisionConflictError: it is no ETag of a project, so it cannot match.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    match = _REVISION.fullmatch(if_match.strip())
    if match is None:
        raise RevisionConflictError('If-Match is to be one ETag of the project, as in "r7". Read the project again.')
    return int(match[1])


class Body(BaseModel):
    """What JSON bodies share: a word that means nothing here is a mistake, not something to pass over."""

    model_config = ConfigDict(extra="forbid")
