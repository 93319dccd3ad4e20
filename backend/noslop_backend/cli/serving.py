# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How uvicorn is set up: limits, timeouts, and an end that lets requests end."""

from __future__ import annotations

from typing import Any

import uvicorn
from fastapi import FastAPI

from noslop_backend.api import Limits

#: A request line with 16 KiB of parameters, and headers of a usual size.
HEADER_BYTES = 64 * 1024
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
    """Set the server up; where it listens is up to who runs it."""
    return uvicorn.Config(
        app,
        log_config=LOGGING,
        access_log=False,
        http="h11",
        ws="none",
        lifespan="on",
        server_header=False,
        # Addresses of clients mean nothing here, so nobody's word is taken for them.
        proxy_headers=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        limit_concurrency=limits.connections,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=limits.stop_s,
    )
