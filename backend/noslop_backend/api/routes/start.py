# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show a person who opens the service's address in a browser where the API is, and what it can do.

Needs no token: it holds nothing of the studio. It loads nothing from elsewhere, which a studio may have no way to.
"""

from __future__ import annotations

import html
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from noslop_backend.api.paths import PREFIX, locate, root_of
from noslop_backend.api.route import StrictRoute

router = APIRouter(route_class=StrictRoute)
PATHS = ("/", "/docs", PREFIX)
_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}td{padding:.2rem .8rem .2rem 0;"
    "vertical-align:top}code{white-space:nowrap}"
)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


class Start(BaseModel):
    """Where to go from here."""

    name: str
    documentation: str
    description: str
    health: str


@router.get("/", include_in_schema=False)
@router.get(PREFIX, include_in_schema=False)
def get_start(request: Request) -> Start:
    """Return where the API, its description and its documentation are."""
    return Start(
        name="NoSlop",
        documentation=f"{root_of(request)}/docs",
        description=locate(request, "/openapi.json"),
        health=locate(request, "/health"),
    )


@router.get("/docs", include_in_schema=False)
def get_documentation(request: Request) -> Response:
    """Return a page that lists every operation."""
    page = compose_page(request.app.openapi(), root_of(request))
    return Response(page, headers=_HEADERS, media_type="text/html")


def compose_page(description: dict[str, Any], root: str) -> str:
    """Return the page for an OpenAPI description.

    Args:
        description: the description, as JSON.
        root: path of the service at its proxy, or nothing.
    """
    rows: dict[str, list[str]] = {}
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            words = ", ".join(
                f"<code>{html.escape(each['name'])}</code>"
                for each in operation.get("parameters", ())
                if each["in"] == "query"
            )
            rows.setdefault(operation.get("tags", ["other"])[0], []).append(
                f"<tr><td><code>{method.upper()}</code><td><code>{html.escape(root + path)}</code>"
                f"<td>{html.escape(operation.get('description', '').partition(chr(10))[0])}"
                f"{' Query: ' + words + '.' if words else ''}"
            )
    tables = "".join(f"<h2>{html.escape(tag)}</h2><table>{''.join(lines)}</table>" for tag, lines in rows.items())
    link = html.escape(f"{root}{PREFIX}/openapi.json")
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>NoSlop</title><style>{_STYLE}</style>"
        f"<h1>NoSlop {html.escape(description['info']['version'])}</h1><p>Send <code>Authorization: Bearer TOKEN</code>"
        "; <code>noslop-backend token create</code> makes a token. The description for programs, with every field, is "
        f"<code>{link}</code>.</p>{tables}</html>"
    )
