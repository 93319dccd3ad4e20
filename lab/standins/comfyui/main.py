# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the lab's stand-in for ComfyUI, started like the original with `python main.py --cpu`. It runs no model."""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import shutil
import signal
import sqlite3
import sys
import threading
from typing import TextIO

import folder_paths
from app.assets import scan
from app.behaviour import behaviour
from app.database import LockedError, open_database
from comfy.cli_args import args
from comfyui_version import __version__

# As in the original, a missing package ends the program, and `requests` is in no requirements.txt.
torch, *_ = (importlib.import_module(name) for name in ("torch", "requests", "noslop_standin_requirement"))

OUTPUT_MODELS = ("checkpoints", "clip", "vae", "diffusion_models", "loras")


class StartError(Exception):
    """A failure that ends the program."""


def check_device() -> None:
    """Reject a start without --cpu where torch can use no GPU, as the original does."""
    if args.cpu or torch.cuda.is_available() or torch.xpu.is_available():
        return
    if torch.version.cuda or torch.version.hip:
        raise StartError("RuntimeError: Found no NVIDIA driver on your system. (--cpu works without one)")
    raise StartError("AssertionError: Torch not compiled with CUDA enabled (--cpu works without)")


def read_extra_paths(path: str) -> None:
    """Add the directories of an extra_model_paths.yaml: sections of `folder: directory` lines, with a base_path."""
    base = ""
    with open(path, encoding="utf-8") as stream:
        for line in stream:
            name, mark, value = (part.strip() for part in line.split("#")[0].partition(":"))
            if not mark or not line[0].isspace():
                base = ""
            elif name == "base_path":
                base = os.path.expandvars(os.path.expanduser(value))
            elif value and name != "is_default":
                where = os.path.join(os.path.dirname(os.path.abspath(path)), base, value)
                folder_paths.add_model_folder_path(name, os.path.normpath(where))


def prepare_paths() -> None:
    """Create the directories that the original creates, and reject a start without the one that it requires."""
    if not os.path.isdir(folder_paths.models_dir):
        raise StartError(f"The models directory {folder_paths.models_dir} does not exist.")
    beside = os.path.join(os.path.dirname(os.path.realpath(__file__)), "extra_model_paths.yaml")
    if os.path.isfile(beside):
        read_extra_paths(beside)
    for path in itertools.chain(*(args.extra_model_paths_config or [])):
        read_extra_paths(path)
    for name in OUTPUT_MODELS:
        folder_paths.add_model_folder_path(name, os.path.join(folder_paths.output_directory, name))
    shutil.rmtree(folder_paths.temp_directory, ignore_errors=True)
    try:
        for path in (folder_paths.input_directory, folder_paths.user_directory, folder_paths.temp_directory):
            os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise StartError(f"{type(error).__name__}: {error}") from error


def lock_database() -> TextIO | None:
    """Open the database. A lock of another process ends the program; any other failure is only reported."""
    try:
        return open_database(args.database_url)
    except LockedError as error:
        raise StartError(
            f"{error} Another ComfyUI process is already using this database.\n"
            "To resolve this, specify a separate database file for this instance:\n"
            "  --database-url sqlite:///path/to/another.db"
        ) from error
    except (OSError, ValueError, sqlite3.Error) as error:
        logging.error(
            "Failed to initialize database. Please ensure you have installed the latest requirements. If the error "
            "persists, please report this as in future the database will be required: %s",
            error,
        )
        return None


def serve() -> None:
    """Serve on every requested address until SIGTERM or SIGINT."""
    from execution import Queue  # noqa: PLC0415 (after the paths are checked)
    from nodes import load_custom_nodes  # noqa: PLC0415
    from server import Server  # noqa: PLC0415

    try:
        load_custom_nodes()
    except OSError as error:
        raise StartError(f"{type(error).__name__}: {error}") from error
    lock = lock_database()
    if args.enable_assets:
        scan()
    queue = Queue()
    # Blocked in all threads, and waited for: a handler that sets an event can run while the event's own lock is held.
    endings = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, endings)
    threading.Thread(target=queue.work, daemon=True).start()
    if args.quick_test_for_ci:
        return
    logging.info("Starting server\n")
    servers = []
    try:
        for address in args.listen.split(","):
            servers.append(Server(address, args.port, queue))
    except OSError as error:
        raise StartError(
            f"OSError: [Errno {error.errno}] error while attempting to bind on {address}: {error}"
        ) from error
    for server in servers:
        if behaviour.answers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        host, port = server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        logging.info("To see the GUI go to: http://%s:%d", shown, port)
    signal.sigwait(endings)
    logging.info("Stopped server")
    if lock:
        lock.close()


def main() -> int:
    """Run the program, and return the exit code."""
    stream = sys.stdout if args.log_stdout else sys.stderr
    logging.basicConfig(level=args.verbose.upper(), format="%(message)s", stream=stream)
    logging.info("ComfyUI version: %s (a stand-in)", __version__)
    try:
        check_device()
        prepare_paths()
        serve()
    except StartError as reason:
        logging.error("%s", reason)
        return 1
    finally:
        shutil.rmtree(folder_paths.temp_directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
