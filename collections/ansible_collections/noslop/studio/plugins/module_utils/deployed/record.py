# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write the record of the last deployment of this host.

A run that may change the studio first replaces the record of the storage server by its own name (``studio_lease``), and
a deployment that was verified writes a new one, with an identity that all hosts get. So a run that was cut off, or that
changed some hosts only, leaves no set of records with one identity, whatever hosts it reached.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths

PATH = f"{studio.STATE_DIR}/deployed.json"
#: Area to name to property to value, such as ``units``, ``noslop-ollama.service``, ``enabled``.
State = dict[str, dict[str, dict[str, str]]]
_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Deployed:
    """A deployment that was verified.

    ``deployment`` is its identity, the same on every host; ``fingerprint`` are checksums of what decided it.
    ``options`` are the parameters of ``studio_check`` for this host, and ``key`` that of the checksums in ``state``.
    """

    deployment: str
    fingerprint: dict[str, str]
    #: ISO 8601, UTC
    finished: str
    options: dict[str, Any]
    key: str
    state: State


def read(path: str = PATH) -> Deployed | None:
    """Return the record; None where there is none, a run that may change the host replaced it, or it is unreadable."""
    values = _read(path)
    try:
        return Deployed(**values["deployed"])
    except (KeyError, TypeError):
        return None


def read_run(path: str = PATH) -> str:
    """Return the run that replaced the record by its name; empty where none did."""
    return str(_read(path).get("run") or "")


def write(deployed: Deployed, path: str = PATH) -> None:
    """Write the record, which only root can read.

    Raises:
        OSError: it cannot be written.
    """
    _write(path, {"deployed": asdict(deployed)})


def invalidate(run: str, path: str = PATH) -> None:
    """Replace the record by the name of a run that may change the host. Does nothing where its directory is missing.

    Raises:
        OSError: it cannot be written.
    """
    if os.path.isdir(os.path.dirname(path)):
        _write(path, {"run": run})


def remove(path: str = PATH) -> None:
    """Remove the record where there is one.

    Raises:
        OSError: it cannot be removed.
    """
    directory, name = os.path.split(path)
    with contextlib.suppress(FileNotFoundError):
        descriptor = safe_paths.open_directory(directory)
        try:
            os.unlink(name, dir_fd=descriptor)
        finally:
            os.close(descriptor)


def _read(path: str) -> Mapping[str, Any]:
    try:
        values = json.loads(safe_paths.read_file(path, _LIMIT_BYTES))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _write(path: str, values: Mapping[str, Any]) -> None:
    directory, name = os.path.split(path)
    descriptor = safe_paths.open_directory(directory)
    try:
        text = json.dumps(values, sort_keys=True) + "\n"
        safe_paths.write_file(descriptor, name, text.encode(), os.geteuid(), os.getegid(), 0o600)
    finally:
        os.close(descriptor)
