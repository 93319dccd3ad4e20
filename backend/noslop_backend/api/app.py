# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The web application: its routes under /api/v1, put together."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from fastapi import FastAPI, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel

from noslop_backend import __version__
from noslop_backend.api import problems
from noslop_backend.api.admission import Admission
from noslop_backend.api.deps import State
from noslop_backend.api.head import HeadAsGet
from noslop_backend.api.incoming import BodyLimit
from noslop_backend.api.limits import Limits
from noslop_backend.api.paths import PREFIX, RootPath
from noslop_backend.api.route import StrictRoute
from noslop_backend.api.routes import (
    adoptions,
    archives,
    documents,
    events,
    files,
    ingest,
    metrics,
    projects,
    search,
    start,
    store,
    trash,
    uploads,
    versions,
)
from noslop_backend.schemas.events import Event, Reload
from noslop_backend.services import ProjectStorage

#: What a page of an allowed origin may send and read, beside what every page may.
_CORS_HEADERS = [
    *("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "If-Range", "Last-Event-ID"),
    "Range",
]
_CORS_EXPOSED = [
    *("Accept-Ranges", "Content-Disposition", "Content-Range", "ETag", "Location", "Retry-After"),
    *("X-NoSlop-Document", "X-NoSlop-Version"),
]
#: What the groups of operations are about, in the order of the documentation.
_TAGS = {
    "projects": "A project has a folder on the share, a quota and a state: present, or in the trash.",
    "workflows and prompts": "Documents with versions. A version is never overwritten, and comes back byte for byte.",
    "files": "Media, intermediates and finals: sent, listed, read, described, promoted.",
    "events": "What changes, as it changes, and what has changed since.",
    "search": "Files of all projects by words, models, seeds, tags and time.",
    "trash and cleanup": "DELETE moves files to the trash, and from there for good; intermediates go by age or size.",
    "adoptions": "Files that a worker writes into the share itself, taken in without moving a byte.",
    "store": "All projects together: what they cost and may cost, whether the service works, metrics.",
}
#: What every operation may be answered with; and where a token is needed; and where there is a body, which may be
#: broken off, come too slowly, be too long, or be encoded.
_ANSWERS, _ANSWERS_TO_CALLERS, _ANSWERS_TO_BODIES = (422, 429, 500), (401, 403, 503), (400, 408, 413, 415)
#: Changes that write nothing to the share, and so are never answered with 507.
_NEED_NO_ROOM = frozenset({"setQuota", "renewAdoption", "releaseAdoption", "cleanupIntermediate"})
_ROUTERS = (
    *(
        projects.router,
        projects.trash_router,
        documents.router,
        versions.router,
        uploads.router,
        trash.router,
        files.router,
        archives.router,
        adoptions.router,
        store.router,
    ),
    *(ingest.router, metrics.router, search.router, events.router),
)


def create_app(storage: ProjectStorage, limits: Limits, *, asks_for_tokens: bool = True) -> FastAPI:
    """Make the application.

    Args:
        storage: the service, with a database that is migrated.
        limits: how much a client gets.
        asks_for_tokens: off only where only this host can connect.
    """
    state = State.make(storage, limits, asks_for_tokens=asks_for_tokens)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        state.close()

    app = FastAPI(
        title="NoSlop",
        version=__version__,
        summary="Every project's files: tracked, limited, never lost.",
        lifespan=lifespan,
        # Its own route would encode the description anew each time.
        openapi_url=None,
        # Their pages load scripts from elsewhere, which a studio may have no way to.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.noslop = state
    for router in _ROUTERS:
        app.include_router(router, prefix=PREFIX)
    app.include_router(start.router)
    problems.install(app)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Admission, state=state)
    app.add_middleware(BodyLimit, limits=limits)
    app.add_middleware(metrics.Measured, registry=state.registry)
    if storage.settings.cors_origins:
        # Outside of the others: it answers what browsers ask before a request, which has no token.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=storage.settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=_CORS_HEADERS,
            expose_headers=_CORS_EXPOSED,
        )
    app.add_middleware(RootPath, root_path=storage.settings.root_path)
    state.registry.register(metrics.Costs(storage, state.disk))
    app.openapi = lambda: _openapi(app, storage.settings.root_path)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    encoded = cache(lambda: json.dumps(app.openapi(), ensure_ascii=False, separators=(",", ":")).encode())

    def get_description() -> Response:
        return Response(encoded(), media_type="application/json")

    app.router.routes.append(StrictRoute(f"{PREFIX}/openapi.json", get_description, include_in_schema=False))
    return app


def _openapi(app: FastAPI, root_path: str) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            routes=app.routes,
            tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
        )
        for operations in schema["paths"].values():
            for method, operation in operations.items():
                _describe_errors(method, operation)
        if root_path:
            schema["servers"] = [{"url": root_path}]
        schemas = schema["components"]["schemas"]
        # What no operation answers as JSON: problems, and the data of events.
        models: dict[str, type[BaseModel]] = {"Problem": problems.Problem, "Event": Event, "Reload": Reload}
        for name, model in models.items():
            described = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= described.pop("$defs", {}) | {name: described}
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = _name_schemas(schema)
    return app.openapi_schema


def _name_schemas(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the description with schemas named after what they are: clients are generated with these names.

    `FilePublic` is `FileInfo` (`File` is the name of an upload in clients), and `Page_FilePublic_` is `FilePage`.
    """
    text = json.dumps(schema)
    for name in schema["components"]["schemas"]:
        new = re.sub(r"^Page_(\w+)Public_$", r"\1Page", name)
        new = re.sub(r"Public$", "Info", new)
        for quoted in ("#/components/schemas/{}", "{}"):
            text = text.replace(json.dumps(quoted.format(name)), json.dumps(quoted.format(new)))
    named: dict[str, Any] = json.loads(re.sub(r"Page\[(\w+)Public\]", r"\1Page", text))
    return named


def _describe_errors(method: str, operation: dict[str, Any]) -> None:
    """Add the errors that an operation may have beside those which its route names."""
    statuses = set(_ANSWERS)
    if operation.get("security"):
        statuses |= set(_ANSWERS_TO_CALLERS)
    if "requestBody" in operation:
        statuses |= set(_ANSWERS_TO_BODIES)
    if method not in {"get", "head"} and operation["operationId"] not in _NEED_NO_ROOM:
        statuses.add(507)
    answers = operation["responses"]
    for status, answer in problems.described(*statuses).items():
        answers.setdefault(str(status), answer)
    # FastAPI's own description of what is invalid.
    answers["422"] = problems.described(422)[422]
    operation["responses"] = dict(sorted(answers.items()))


def operation_ids() -> list[str]:
    """Return the names of all operations."""
    return sorted(
        route.operation_id or "" for router in _ROUTERS for route in router.routes if isinstance(route, APIRoute)
    )
