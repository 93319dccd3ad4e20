# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths of the API as clients see them."""

from __future__ import annotations

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "/api/v1"


def root_of(request: Request) -> str:
    """Return the path below which a proxy serves the service (`NOSLOP_ROOT_PATH`), or nothing."""
    root: str = request.scope.get("root_path", "")
    return root


def locate(request: Request, path: str) -> str:
    """Return the path of something of the API as the client sees it, behind a proxy too."""
    return f"{root_of(request)}{PREFIX}{path}"


class RootPath:
    """Set the path below which a proxy serves the application, where the proxy takes it away from each request."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app = app
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http":
            scope["root_path"] = self.root_path
        await self.app(scope, receive, send)
