# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deployment record: what was planned, with which inventory, what happened and what was proven.

`.noslop/records/<time>/` has `plan.json`, `storage.json`, `nodes/<host>.env`, `inventory.json`, `events.jsonl`,
`verification.json` and `outcome.json`. Only what is listed here is copied from the inventory, from files of hosts and
from the results of tasks: which of the other values are secret, nobody can know. In what is copied, the passwords of
the run and those in URLs are replaced. The last three records of each command stay.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from ansible_collections.noslop.studio.plugins.module_utils import studio

from noslop_driver.ansible.events import Event, Outcome
from noslop_driver.inventory.directory import Member
from noslop_driver.models import Plan
from noslop_driver.output.terminal import printable
from noslop_driver.secrets import Secrets, open_private

NODE_ENV = "/etc/noslop/node.env"
KEPT_RECORDS = 3
"""How many records of each command stay."""

VARIABLES = frozenset(
    {
        "ansible_connection",
        "ansible_host",
        "ansible_port",
        "ansible_user",
        *studio.DEFAULTS,
        *studio.HOST_VARIABLES,
        *(variable for variable, _port in studio.PORTS.values()),
    }
)
"""Variables of the inventory whose values are copied; of any other, not even the name."""

NODE_VARIABLES = frozenset(
    {
        "NOSLOP_STUDIO_ID",
        "NOSLOP_STORAGE_ROOT",
        "SHARED_STORAGE_ENABLED",
        *(share.env for share in studio.shares({"noslop_studio_id": "any"})),
    }
)
"""Lines of a host's node.env that are copied: `node_env_extra` may add any others."""

_ENVIRONMENT_LINE = re.compile(r"(?P<name>\w+)=")


class Record:
    """The record of one command, written while it runs."""

    def __init__(self, records: Path, command: str, secrets: Secrets) -> None:
        """Make the record's directory, named by the time."""
        self._secrets = secrets
        self._command = command
        self._started = datetime.now(UTC)
        self.path = _new_directory(records, self._started)
        self._events: TextIO = _open(self.path / "events.jsonl")
        self._phases: list[dict[str, Any]] = []

    def plan(self, plan: Plan) -> None:
        """Keep who does what and why, and the storage's configuration."""
        self._write("plan.json", plan.model_dump(mode="json"))
        wishes = plan.wishes
        storage = {
            "studio_id": wishes.studio_id,
            "provider": wishes.storage_provider,
            "root": wishes.storage_root,
            "server": plan.server,
            "clients": [host.name for host in plan.members("storage_clients")],
            "shares": [asdict(share) for share in wishes.shares()],
            "min_free_gb": wishes.min_free_gb,
            "uid": wishes.uid,
            "gid": wishes.gid,
        }
        self._write("storage.json", storage)

    def inventory(self, members: Sequence[Member]) -> None:
        """Keep the hosts of the inventory, with the groups and the variables that are listed."""
        hosts = {
            member.name: {
                "groups": sorted(member.groups),
                "variables": {name: member.variables[name] for name in sorted(VARIABLES & member.variables.keys())},
            }
            for member in members
        }
        self._write("inventory.json", {"hosts": hosts})

    def event(self, phase: str, event: Event) -> None:
        """Keep one event; a node's environment file that a task read goes into `nodes/`."""
        line = self._secrets.scrub({"phase": phase, **event.as_json()})
        self._events.write(json.dumps(line, default=str) + "\n")
        self._events.flush()
        environment = node_environment(event)
        if environment is not None:
            target = self.path / "nodes" / f"{event.host}.env"
            target.parent.mkdir(mode=0o700, exist_ok=True)
            with _open(target) as file:
                file.write(self._secrets.scrub(printable(environment)))

    def phase(self, name: str, outcome: Outcome, seconds: float) -> None:
        """Keep how a phase ended."""
        self._phases.append(
            {
                "phase": name,
                "status": outcome.status.value,
                "seconds": round(seconds, 1),
                "stats": {host: asdict(stats) for host, stats in outcome.stats.items()},
                "failures": [asdict(failure) for failure in outcome.failures],
                "output": outcome.output,
                "left_running": outcome.left_running,
            }
        )

    def verification(self, report: Mapping[str, Any]) -> None:
        """Keep the list of checks."""
        self._write("verification.json", report)

    def finish(self, exit_code: int, message: str, version: str) -> None:
        """Keep how it all ended, and close the record."""
        self._events.close()
        self._write(
            "outcome.json",
            {
                "command": self._command,
                "ok": exit_code == 0,
                "exit_code": exit_code,
                "message": message,
                "started": self._started.isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "driver_version": version,
                "phases": self._phases,
            },
        )
        prune(self.path.parent, self.path)

    def _write(self, name: str, data: Mapping[str, Any]) -> None:
        text = json.dumps(self._secrets.scrub(dict(data)), indent=2, default=str) + "\n"
        with _open(self.path / name) as file:
            file.write(text)


def node_environment(event: Event) -> str | None:
    """Return the listed lines of /etc/noslop/node.env when the event is that of a task that read it (`slurp`)."""
    if event.kind != "ok" or event.result.get("source") != NODE_ENV:
        return None
    try:
        text = base64.b64decode(str(event.result.get("content", "")), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    lines = [
        line
        for line in text.splitlines()
        if (named := _ENVIRONMENT_LINE.match(line)) and named["name"] in NODE_VARIABLES
    ]
    return "".join(f"{line}\n" for line in lines)


def prune(records: Path, keep: Path) -> None:
    """Remove all but the last records of each command, and never `keep`, the one that is being written."""
    last: dict[str, int] = {}
    for path in sorted(records.glob("*/"), reverse=True):
        try:
            command = str(json.loads((path / "outcome.json").read_text(encoding="utf-8"))["command"])
        except (OSError, ValueError, KeyError):
            command = ""  # it was cut off
        last[command] = last.get(command, 0) + 1
        if path != keep and last[command] > KEPT_RECORDS:
            shutil.rmtree(path)
        else:
            # Copies of inventory files, which earlier versions made, have secrets of any name in them.
            shutil.rmtree(path / "inventory", ignore_errors=True)


def latest(
    records: Path, command: str | None = None, having: str = "outcome.json"
) -> tuple[Path, dict[str, Any]] | None:
    """The newest record that has the file `having` (of `command`, when given), and what `outcome.json` says of it."""
    for path in sorted(records.glob("*/"), reverse=True):
        outcome = path / "outcome.json"
        if not outcome.exists() or not (path / having).exists():
            continue
        found: dict[str, Any] = json.loads(outcome.read_text(encoding="utf-8"))
        if command is None or found.get("command") == command:
            return path, found
    return None


def _open(path: Path) -> TextIO:
    return open(path, "w", encoding="utf-8", opener=open_private)


def _new_directory(records: Path, now: datetime) -> Path:
    """Make `records/<time>`; a second record of the same second gets a number."""
    records.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = now.strftime("%Y-%m-%dT%H%M%SZ")
    number = 1
    while True:
        path = records / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
        else:
            return path
