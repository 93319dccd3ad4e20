# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answer HEAD wherever GET is answered, with the same status and headers (RFC 9110, 9.3.2)."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The content of a file, an archive and events have routes of their own for HEAD, which read none of it.
_OWN_ROUTE = re.compile(r".*/(?:files/[^/]+/content|archive|events)")


class HeadAsGet:
    """Ask the application for a GET where a client asks for a HEAD, and leave the body of its answer out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or _OWN_ROUTE.fullmatch(scope["path"]):
            await self.app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        # The server looks into its own scope: only the copy says GET.
        copy = {**scope, "method": "GET"}
        try:
            await self.app(copy, receive, send_without_body)
        finally:
            # For the metrics.
            if "route" in copy:
                scope["route"] = copy["route"]
