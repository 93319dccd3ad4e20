# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop the studio's units on a host for the time of a move, and start the same ones again.

All of them may write to a share: services, their timers, the host's own checks, the server for Windows and macOS. Which
ones ran is recorded before anything is stopped, so an interrupted run knows it too.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Systemd, SystemdError
from ansible_collections.noslop.studio.plugins.module_utils.models import whole_file
from ansible_collections.noslop.studio.plugins.module_utils.studio import FIREWALL_UNIT

#: Units that write to no share, and without which the host would be open or its mounts would end.
KEPT_UNITS = frozenset({FIREWALL_UNIT})
_STATES = "--state=active,activating,reloading"
_TYPES = "--type=service,timer,path,socket"
_FILE = "stopped-units.json"


def list_running(module: Any) -> list[str]:
    """Return the studio's units that run, or wait for their time.

    Raises:
        SystemdError: systemd does not answer.
    """
    command = ["systemctl", "list-units", "--plain", "--no-legend", _STATES, _TYPES, "noslop-*"]
    code, out, err = module.run_command(command)
    if code != 0:
        raise SystemdError(f"{' '.join(command)}: {(err or out).strip()}")
    names = [line.split()[0] for line in out.splitlines() if line.strip()]
    return sorted(name for name in names if name not in KEPT_UNITS and not name.startswith("noslop-failure@"))


def record(module: Any, directory: str) -> list[str]:
    """Record the units that run, with those that an earlier run recorded. Return them."""
    names = sorted({*read(directory), *list_running(module)})
    if not module.check_mode:
        whole_file.write_json(os.path.join(directory, _FILE), names)
    return names


def read(directory: str) -> list[str]:
    """Return the units that were recorded; none where there is no record."""
    try:
        with open(os.path.join(directory, _FILE), encoding="utf-8") as stream:
            return [str(name) for name in json.load(stream)]
    except (FileNotFoundError, ValueError):
        return []


def stop(module: Any, systemd: Systemd) -> None:
    """Stop the units that run."""
    systemd.do("stop", *list_running(module))


def start(module: Any, systemd: Systemd, directory: str) -> None:
    """Start the recorded units that are still installed, and forget them.

    Without waiting: a service whose share is not mounted yet waits for it for long.
    """
    names = read(directory)
    units = systemd.show(names)
    running = set(list_running(module)) if names else set()
    systemd.do("start --no-block", *(name for name in names if units[name].load == "loaded" and name not in running))
    if not module.check_mode:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, _FILE))
