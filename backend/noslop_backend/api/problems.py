# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error as application/problem+json (RFC 9457), from whatever raised it."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from noslop_backend.core import errors
from noslop_backend.services.tokens import ForbiddenError, UnauthenticatedError

MEDIA_TYPE = "application/problem+json"
_LOG = logging.getLogger(__name__)

#: The most particular class that fits decides.
STATUS: dict[type[errors.BackendError], int] = {
    errors.BackendError: 500,
    errors.ConfigurationError: 500,
    errors.InvalidRequestError: 422,
    errors.UnsupportedMediaError: 415,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.RevisionConflictError: 412,
    # What draft-ietf-httpapi-idempotency-key-header says of a key with another payload, and of one that is at work.
    errors.KeyReusedError: 422,
    errors.InProgressError: 409,
    errors.TooManyRequestsError: 429,
    errors.LeaseLostError: 409,
    errors.QuotaExceededError: 507,
    errors.StorageFullError: 507,
    errors.ShareUnavailableError: 503,
    errors.DatabaseUnavailableError: 503,
    errors.InspectionUnfinishedError: 503,
    errors.ComfyUnavailableError: 503,
    errors.ComfyAnswerError: 502,
    UnauthenticatedError: 401,
    ForbiddenError: 403,
}
_RETRY_AFTER_S = 5


class InvalidPart(BaseModel):
    """A part of a request that is wrong: `pointer` (RFC 6901) says where in a body, `parameter` which one elsewhere."""

    model_config = ConfigDict(populate_by_name=True)

    detail: str
    place: str = Field(alias="in", examples=["body", "query", "path", "header"])
    pointer: str | None = None
    parameter: str | None = None


class Problem(BaseModel):
    """What went wrong: `detail` for the person who reads it, which says what to do, and `code` for programs."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="urn:noslop:problem: and the code", examples=["urn:noslop:problem:not_found"])
    title: str
    status: int
    detail: str
    code: str
    errors: list[InvalidPart] | None = Field(None, description="which parts of the request are wrong, and how")


def described(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe these answers for OpenAPI."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **more: Any,  # noqa: ANN401 - RFC 9457, 3.2
) -> JSONResponse:
    """Make the answer."""
    body = {
        "type": f"urn:noslop:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **{name: value for name, value in more.items() if name not in Problem.model_fields or name == "errors"},
    }
    return JSONResponse(body, status, headers={"Cache-Control": "no-store", **(headers or {})}, media_type=MEDIA_TYPE)


def of_backend_error(error: errors.BackendError) -> JSONResponse:
    """Make the answer to what the service refuses or cannot do."""
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in {429, 503} or isinstance(error, errors.InProgressError):
        headers["Retry-After"] = str(max(1, math.ceil(float(error.details.get("retry_after_s", _RETRY_AFTER_S)))))
    if status >= 500:
        _LOG.warning("%s: %s", error.code, error.message)
    return problem(status, error.code, error.message, headers=headers, **error.details)


def describe_error(location: Sequence[str | int], message: str) -> dict[str, str]:
    """Return what is wrong with one part of a request.

    Args:
        location: `body`, `query`, `path` or `header`, and then the names and indexes down to the part.
        message: what is wrong with it.

    Returns:
        `detail`; and for a body `pointer`, a JSON pointer (RFC 6901) as a fragment, else `parameter`, its name.
    """
    place, *names = [_text(str(part)) for part in location]
    described = {"detail": _text(message), "in": place}
    if place == "body":
        steps = (name.replace("~", "~0").replace("/", "~1") for name in names)
        return described | {"pointer": "#" + "".join(f"/{step}" for step in steps)}
    return described | {"parameter": names[0]} if names else described


def _describe_validation(error: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with one part of a request, by pydantic's error about it."""
    if error["type"] == "json_invalid":
        # Its place is no part of the body, but a number of characters in it.
        return describe_error(["body"], f"it is no JSON at character {error['loc'][-1]}: {error['ctx']['error']}")
    return describe_error(error["loc"], _REASONS.get(error["type"]) or error["msg"].removeprefix("Value error, "))


def _compose_reason(error: dict[str, str]) -> str:
    part = error.get("parameter") or error.get("pointer", "").removeprefix("#").removeprefix("/").replace("/", ".")
    return f"{error['in']}{'.' if part else ''}{part}: {error['detail']}"


def install(app: FastAPI) -> None:
    """Make every error that leaves a route a problem."""

    @app.exception_handler(errors.BackendError)
    def refused(_request: Request, error: errors.BackendError) -> JSONResponse:
        return of_backend_error(error)

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [_describe_validation(each) for each in error.errors()]
        reasons = "; ".join(_compose_reason(each) for each in errors[:5])
        return problem(422, "invalid_request", f"The request is not understood: {reasons}.", errors=errors)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> JSONResponse:
        status = HTTPStatus(error.status_code)
        detail = error.detail
        if detail == status.phrase:
            detail = _SENTENCES.get(status, "{phrase}.").format(
                phrase=status.phrase, method=request.method, path=_text(request.url.path)
            )
        headers = dict(error.headers or {})
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_methods(request))
        return problem(status, status.name.lower(), detail, headers=headers)

    @app.exception_handler(ClientDisconnect)
    def aborted(request: Request, _error: ClientDisconnect) -> JSONResponse:
        _LOG.info("%s %s: the client went away before its request was complete", request.method, request.url.path)
        return problem(400, "aborted", "The connection ended before the request was complete. Nothing was kept.")

    @app.exception_handler(Exception)
    def failed(_request: Request, _error: Exception) -> JSONResponse:
        # Starlette raises it again after this answer, so that the server logs the traceback.
        return problem(
            500,
            "internal",
            "The backend itself failed at this, which is a mistake in NoSlop: please report it with what the log says.",
        )


def _methods(request: Request) -> list[str]:
    """Return the methods of all routes of this path, as OpenAPI has them; the router names those of one route only."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    here: dict[str, Any] = {}
    for path, operations in paths.items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), request.url.path):
            here |= operations
    return sorted({method.upper() for method in here} | ({"HEAD"} if "get" in here else set()))


#: In place of pydantic's words, which are about Python.
_REASONS = {
    "missing": "it is missing",
    "extra_forbidden": "there is no such field; leave it out",
    "model_attributes_type": "it is to be a JSON object",
    "dict_type": "it is to be a JSON object",
    "list_type": "it is to be a JSON array",
    "string_type": "it is to be a text",
    "int_parsing": "it is to be a whole number",
    "int_type": "it is to be a whole number",
    "bool_parsing": "it is to be true or false",
    "bool_type": "it is to be true or false",
}
_SENTENCES = {
    HTTPStatus.NOT_FOUND: "There is nothing at {path}. /api/v1/openapi.json describes what there is.",
    HTTPStatus.METHOD_NOT_ALLOWED: "{path} does not take {method}. The header Allow says what it takes.",
}


def _text(value: str) -> str:
    """Return a text as it can be sent: without halves of surrogate pairs."""
    return value.encode("utf-8", "replace").decode()
