# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the stand-in's version and errors, and read the environment as the original does."""

from __future__ import annotations

import ipaddress
import logging
import os
from pathlib import Path

VERSION = "0.32.7"  # build.py writes another one into each release
#: Releases that start, listen, and answer no request: upgrades that fail.
SILENT_VERSIONS = ("0.32.16",)

log = logging.getLogger("ollama")


class OllamaError(Exception):
    """An error whose text follows `Error: `; `status` is the HTTP status when a request caused it."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


def os_message(call: str, error: OSError) -> str:
    """Return an OSError in the format of the original (Go): `mkdir /models: permission denied`."""
    return f"{call} {error.filename}: {(error.strerror or str(error)).lower()}"


def listen_address(value: str) -> tuple[str, int]:
    """Parse OLLAMA_HOST: empty, `host`, `host:port`, `:port`, an IPv6 address, with or without `http://`."""
    value = value.strip().strip("\"'")
    scheme, mark, rest = value.partition("://")
    default_port = {"http": 80, "https": 443}.get(scheme, 11434) if mark else 11434
    rest = (rest if mark else value).split("/")[0]
    bare = rest.strip("[]")
    try:
        return str(ipaddress.ip_address(bare)), default_port
    except ValueError:
        pass
    host, _, port = rest.rpartition(":") if ":" in rest else (rest, "", "")
    if port and not (port.isdigit() and int(port) < 65536):
        log.warning("invalid port, using default port=%s default=%s", port, default_port)
        port = ""
    return host.strip("[]") or "127.0.0.1", int(port) if port else default_port


def is_loopback(host: str) -> bool:
    """Return whether an address is of this host alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def switched_on(name: str) -> bool:
    """Return a boolean variable as the original parses it: set, and not one of Go's words for false."""
    return os.environ.get(name, "").strip("\"' ") not in ("", "0", "f", "F", "false", "FALSE", "False")


def home() -> Path:
    """Return the account's home. Raises OllamaError when it is not known."""
    if not os.environ.get("HOME"):
        raise OllamaError("$HOME is not defined")
    return Path(os.environ["HOME"])
