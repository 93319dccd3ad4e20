# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configure uvicorn: where it listens, its limits and timeouts, and a stop that lets requests end."""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from noslop_backend.api import Limits
from noslop_backend.api.connections import Connection, Connections
from noslop_backend.core.errors import ConfigurationError

#: A request line with 16 KiB of parameters, and headers of a usual size.
HEADER_BYTES = 64 * 1024
#: Connections that the kernel keeps until they are accepted.
QUEUE = 2048
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
    # systemd's journal keeps the time.
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"}},
    "loggers": {
        # Every request would be a line; what they are and how they end is in the metrics.
        "uvicorn.access": {"level": "WARNING"},
        "uvicorn": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "noslop_backend": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
    },
}


def configured(app: FastAPI, limits: Limits) -> uvicorn.Config:
    """Return the configuration of the server for an application; the caller opens its socket (`listening`)."""
    app.state.connections = Connections(limits)
    return uvicorn.Config(
        app,
        log_config=LOGGING,
        access_log=False,
        # A class, as far as uvicorn calls it.
        http=cast(type[asyncio.Protocol], functools.partial(Connection, table=app.state.connections)),
        ws="none",
        lifespan="on",
        server_header=False,
        # Addresses of clients mean nothing here, so no header of a proxy is believed about them.
        proxy_headers=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        # Our own count of connections takes the place of `limit_concurrency`, which is an error for every client.
        timeout_keep_alive=limits.keep_alive_s,
        # So many are accepted before any of them is read from; twice that have a place, so that one that sends its head
        # at once is read before those that follow end it as idle.
        backlog=max(1, min(limits.connections_per_address, limits.connections) // 4),
        timeout_graceful_shutdown=limits.stop_s,
    )


class Server(uvicorn.Server):
    """Uvicorn's server, whose sockets hold more connections than it accepts in one go."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve."""
        await super().startup(sockets)
        for each in sockets or ():
            # listen(2) again, with another length of the queue: asyncio has one number for both.
            each.listen(QUEUE)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests end. Streams of events would never: they end now, and their clients ask another process."""
        cast(FastAPI, self.config.app).state.noslop.events.close()
        await super().shutdown(sockets)


def listening(host: str, port: int) -> socket.socket:
    """Listen on an address; port 0 takes any free one.

    Connections that it accepts send what they have at once (TCP_NODELAY, tcp(7)). Otherwise the body of an answer,
    which follows its head in a packet of its own, waits until the client has confirmed the head, and clients delay
    that by 40 ms. asyncio sees to it only for sockets that were made with IPPROTO_TCP by name.

    Raises:
        ConfigurationError: the host has no such address, or something else listens there.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        made = socket.create_server(
            (host, port) if family == socket.AF_INET else address[:2], family=family, backlog=QUEUE
        )
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made
    except OSError as error:
        hint = {
            errno.EADDRINUSE: "Something else listens there: stop it, or take another port (--port).",
            errno.EADDRNOTAVAIL: "This host has no such address: name one that it has (--host).",
            errno.EACCES: "Ports below 1024 are root's: take another one (--port).",
        }.get(error.errno or 0, "Name an address of this host (--host) and a free port (--port).")
        raise ConfigurationError(f"Listening on {host}:{port} failed: {error.strerror or error}. {hint}") from error
