# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Set up the connection by which the new server reads from the old one, and end it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import time
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.models import progress, whole_file
from ansible_collections.noslop.studio.plugins.module_utils.nfs import certificates
from ansible_collections.noslop.studio.plugins.module_utils.storage_move import rsync, source_server, tls_relay
from ansible_collections.noslop.studio.plugins.module_utils.storage_move.record import MoveError
from ansible_collections.noslop.studio.plugins.module_utils.storage_move.request import Request

KEY, CERTIFICATE, PEER = "key.pem", "certificate.pem", "peer.pem"
CONFIGURATION, CONNECTOR, SETTINGS = "rsyncd.conf", "connect.py", "connection.json"
#: Seconds that a process of an earlier run has to end.
END_S = 30.0
#: Days that a certificate is valid, which is not looked at.
DAYS = "365"


def make_key(__: Any, request: Request) -> dict[str, Any]:
    """Make a key for this move, and return its certificate."""
    make_private(request.run_directory)
    before = os.umask(0o077)
    try:
        certificates.run_openssl(
            *("req", "-x509", "-nodes", "-days", DAYS, "-subj", "/CN=noslop-storage-move"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-keyout", request.run_path(KEY), "-out", request.run_path(CERTIFICATE)),
        )
    finally:
        os.umask(before)
    with open(request.run_path(CERTIFICATE), encoding="ascii") as stream:
        return {"changed": True, "certificate": stream.read()}


def serve(__: Any, request: Request) -> dict[str, Any]:
    """Start to offer the shares to the new server. Return the port."""
    require_rsync(request)
    lists = request.state_directory
    make_private(lists)
    _write(request.run_path(PEER), request.certificate)
    shares = {share.name: share.path for share in request.shares}
    _write(request.run_path(CONFIGURATION), source_server.render_configuration(shares, lists))
    context = tls_relay.make_context(
        request.run_path(CERTIFICATE), request.run_path(KEY), request.run_path(PEER), server=True
    )
    command = source_server.make_command(request.rsync, request.run_path(CONFIGURATION))
    lock = progress.Lock(request.server_directory)
    if not lock.try_to_acquire():
        raise MoveError("The shares of this host are being copied already. Wait for the end of that run.")
    with source_server.listen(request.address, request.port) as listener:

        def work() -> None:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            source_server.SourceServer(listener, context, request.clients, command).serve()

        lock.give_to(worker_processes.start_detached(work, None, [listener.fileno(), lock.descriptor]))
        port = listener.getsockname()[1]
    os.close(lock.descriptor)
    return {"changed": True, "port": port}


def stop(__: Any, request: Request) -> dict[str, Any]:
    """End the server, and a copy or list that runs, and remove the keys."""
    ended = [_end(directory) for directory in (request.server_directory, request.run_directory)]
    for name in (KEY, CERTIFICATE, PEER, SETTINGS):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(request.run_path(name))
    return {"changed": any(ended)}


def require_rsync(request: Request) -> None:
    """Raise an error where this host has no rsync."""
    if not request.rsync:
        raise MoveError("The program rsync is missing. Install the package rsync.")


def write_connector(request: Request) -> list[str]:
    """Write the program by which rsync connects with the old server, and its settings. Return its command."""
    specification = importlib.util.find_spec(tls_relay.__name__)
    # From a file, or from the archive that Ansible sent.
    source = specification.loader.get_source(tls_relay.__name__)  # type: ignore[union-attr]
    _write(request.run_path(CONNECTOR), source)
    _write(request.run_path(PEER), request.certificate)
    settings = {
        "address": request.address,
        "port": request.port,
        "certificate": request.run_path(CERTIFICATE),
        "key": request.run_path(KEY),
        "peer": request.run_path(PEER),
    }
    whole_file.write_json(request.run_path(SETTINGS), settings)
    return rsync.make_shell(request.run_path(CONNECTOR), request.run_path(SETTINGS))


def make_private(directory: str) -> None:
    """Make a directory in /run or /var/lib/noslop that only root enters."""
    os.makedirs(directory, mode=0o700, exist_ok=True)


def _end(directory: str) -> bool:
    """End the process that has the lock of a directory. Return whether there was one."""
    if not progress.stop_holder(directory, check_mode=False):
        return False
    end = time.monotonic() + END_S
    while (holder := progress.read_holder(directory)) is not None:
        if time.monotonic() > end:
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder, signal.SIGKILL)
        time.sleep(0.1)
    return True


def _write(path: str, text: str) -> None:
    """Write a file in the directory of the run, which only root enters."""
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)
