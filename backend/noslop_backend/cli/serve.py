# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the service."""

from __future__ import annotations

import ipaddress
import logging
import logging.config
import resource
import signal
from types import FrameType

import click

from noslop_backend.api import create_app, limits
from noslop_backend.cli.context import Environment, pass_environment
from noslop_backend.cli.uvicorn_config import LOGGING, Server, configured, listening
from noslop_backend.core.errors import ShareUnavailableError
from noslop_backend.maintenance import generation
from noslop_backend.media.probe.launcher import LAUNCHER

_LOG = logging.getLogger(__name__)
PORT = 8765


@click.command()
@click.option("--host", envvar="NOSLOP_HOST", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    envvar="NOSLOP_PORT",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="0: any free one.",
)
@click.option("--no-auth", is_flag=True, help="Ask for no tokens; only where nobody but this host can connect.")
@pass_environment
def serve(environment: Environment, host: str, port: int, no_auth: bool) -> None:
    """Serve the API until told to stop."""
    if no_auth and not _is_loopback(host):
        raise click.UsageError(
            f"--no-auth would let everybody who reaches {host} change and remove everything. Listen on 127.0.0.1, or "
            "make tokens: noslop-backend token create NAME."
        )
    with environment.storage() as storage:
        allowed = limits.load(environment.env_file)
        logging.config.dictConfig(LOGGING)
        app = create_app(storage, allowed, asks_for_tokens=not no_auth)
        try:
            # A share that is away takes nothing from those who read the database: they are served meanwhile.
            app.state.noslop.disk.run(storage.start)
            if behind := app.state.noslop.disk.run(lambda: generation.advance(storage)):
                _LOG.warning(behind)
        except ShareUnavailableError as error:
            _LOG.warning("%s Writes are refused until the share is there.", error.message)
        # It has loaded its decoders by the time that the first file comes.
        LAUNCHER.start()
        with listening(host, port) as listener:
            address = listener.getsockname()
            _LOG.info(
                "listening on http://%s:%d/api/v1", f"[{address[0]}]" if ":" in address[0] else address[0], address[1]
            )
            _raise_open_files(allowed.connections)
            # The server ends its requests first, and then raises the signal again: that is the end.
            signal.signal(signal.SIGTERM, _stop)
            Server(configured(app, allowed)).run(sockets=[listener])


def _raise_open_files(connections: int) -> None:
    """Have descriptors for all connections, what is being accepted meanwhile, and the files of each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * connections + 2048
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
