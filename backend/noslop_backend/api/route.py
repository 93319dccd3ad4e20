# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The class of every route: a request that says something which its route does not read is refused."""

from __future__ import annotations

import difflib
import functools
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, MutableMapping
from typing import Any

import anyio.to_thread
from fastapi import Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from noslop_backend.api import content_types
from noslop_backend.core import json_depth

_JSON = "application/json"
#: This much JSON is parsed in the event loop: a thread would take longer.
_SMALL_BYTES = 64 * 1024
#: Objects and arrays of a body. They are validated in the event loop, which takes three microseconds for each.
_CONTAINERS_LIMIT = 40_000
#: How alike a word and a parameter's name are where one is taken for a misspelling of the other.
_ALIKE = 0.7


class _JsonRequest(Request):
    """A request whose JSON is counted before it is parsed, and not parsed in the event loop where that takes long."""

    async def json(self) -> Any:  # noqa: ANN401 - any JSON
        body = await self.body()
        try:
            if len(body) <= _SMALL_BYTES:
                return json_depth.loads(body, containers=_CONTAINERS_LIMIT)
            parse = functools.partial(json_depth.loads, body, containers=_CONTAINERS_LIMIT)
            return await anyio.to_thread.run_sync(parse)
        except json_depth.TooLargeError as error:
            raise HTTPException(422, f"The body is too large to be read as JSON: {error}.") from error
        except UnicodeDecodeError as error:
            raise HTTPException(
                422, f"The body is to be JSON in UTF-8: {json_depth.describe_encoding(body)}."
            ) from error


class StrictRoute(APIRoute):
    """A route that refuses what it does not read. For the `route_class` of a router.

    Words of the query that are no parameter of the route, parameters that are given twice, and encoded bodies: each
    would otherwise be passed over in silence, and what the client meant by it would not happen. A body that is sent as
    something else than JSON where JSON is read would be refused without the reason.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that answers requests."""
        handler = super().get_route_handler()
        #: Name of each parameter in the query, and whether it may be given several times.
        parameters = {
            field.alias: _is_list(field.field_info.annotation)
            for field in get_flat_params(self.dependant)
            if isinstance(field.field_info, Query)
        }

        has_body = self.body_field is not None or "requestBody" in (self.openapi_extra or {})

        async def check_and_handle(request: Request) -> Response:
            check_query(request.query_params.multi_items(), parameters)
            if has_body:
                check_encoding(request.headers.get("content-encoding"))
            scope = _as_json(request) if self.body_field is not None else request.scope
            return await handler(_JsonRequest(scope, request.receive))

        return check_and_handle


def check_query(given: Iterable[tuple[str, str]], parameters: dict[str, bool]) -> None:
    """Compare the words of a query with the parameters of its route.

    Args:
        given: names and values, in order.
        parameters: the name of each parameter, and whether it may be given several times.

    Raises:
        RequestValidationError: a word is no parameter, or a parameter that has one value is given twice.
    """
    problems = []
    for name, count in Counter(name for name, _ in given).items():
        if name not in parameters:
            problems.append(_problem(name, f"there is no such parameter; {_suggest(name, parameters)}"))
        elif count > 1 and not parameters[name]:
            problems.append(_problem(name, f"it is given {count} times and has one value; send it once"))
    if problems:
        raise RequestValidationError(problems)


def check_encoding(encoding: str | None) -> None:
    """Refuse a body that is compressed or encoded otherwise: it would be kept as it comes.

    Raises:
        HTTPException: it is (415).
    """
    if encoding is not None and encoding.strip().lower() not in {"", "identity"}:
        raise HTTPException(
            415,
            f"Content-Encoding {encoding} is not taken. Send the content itself, without Content-Encoding; to keep a "
            "compressed file as it is, leave the header out.",
            headers={"Accept-Encoding": "identity"},
        )


def _as_json(request: Request) -> MutableMapping[str, Any]:
    """Return the scope of a request for a route that reads JSON, with the one type that FastAPI parses.

    Raises:
        HTTPException: the body is sent as something else (415).
    """
    content_type = request.headers.get("content-type", "")
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    if not has_body or content_types.essence(content_type) == _JSON:
        return request.scope
    if not content_types.is_json(content_type):
        raise HTTPException(
            415,
            f"The body is to be JSON, and was sent as {content_types.essence(content_type) or 'nothing named'}. "
            f"Send it with Content-Type: {_JSON}.",
            headers={"Accept": _JSON},
        )
    headers = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
    return {**request.scope, "headers": [*headers, (b"content-type", _JSON.encode())]}


def _suggest(name: str, parameters: dict[str, bool]) -> str:
    if not parameters:
        return "this request has no query"
    word = name.lower()
    parts = [each for each in parameters if each in word or (len(word) > 2 and word in each)]
    if close := difflib.get_close_matches(word, parameters, n=1, cutoff=_ALIKE) or parts:
        return f"did you mean {close[0]!r}"
    return f"there are {', '.join(sorted(parameters))}"


def _problem(name: str, message: str) -> dict[str, Any]:
    return {"type": "query", "loc": ("query", name), "msg": message, "input": None}


def _is_list(annotation: object) -> bool:
    return "list[" in str(annotation)
