# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deployment record: what was planned, with which inventory, what happened and what was proven.

`.noslop/records/<time>/` has `plan.json`, `storage.json`, `nodes/<host>.env`, `inventory/`, `events.jsonl`,
`verification.json` and `outcome.json`. No password is in any of them: known ones are replaced wherever they turn up,
and values under names that speak of secrets are left out of the copy of the inventory.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from noslop_driver.events import Event, Outcome
from noslop_driver.models import Plan
from noslop_driver.secrets import SCRUBBED, Secrets
from noslop_driver.terminal import printable

NODE_ENV = "/etc/noslop/node.env"

# `name: value` and `name=value`, where the name speaks of a secret; a value that goes on below is deeper indented.
_SENSITIVE = r"[\w-]*(?:passw(?:or)?d|passphrase|secret|token|api_key|private_key|_pass)s?"
_SECRET_LINE = re.compile(
    rf"^(?P<indent>[ \t]*(?:- )?)(?P<name>[\"']?{_SENSITIVE}[\"']?\s*:)[ \t]*(?P<value>\S.*|$)"
    rf"(?P<more>(?:\n(?P=indent)[ \t]+\S.*|\n[ \t]*$)*)",
    re.IGNORECASE | re.MULTILINE,
)
_SECRET_PAIR = re.compile(
    rf"(?P<name>[\"']?\b{_SENSITIVE}\b[\"']?\s*[=:]\s*)(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s,}}\]]+)",
    re.IGNORECASE,
)


class Record:
    """The record of one command, written while it runs."""

    def __init__(self, records: Path, command: str, secrets: Secrets) -> None:
        """Make the record's directory, named by the time."""
        self._secrets = secrets
        self._command = command
        self._started = datetime.now(UTC)
        self.path = _new_directory(records, self._started)
        self._events: TextIO = (self.path / "events.jsonl").open("w", encoding="utf-8")
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

    def inventory(self, inventory: Path) -> None:
        """Keep a copy of the inventory as it is used."""
        for root, directories, files in os.walk(inventory):
            directories[:] = sorted(name for name in directories if not name.startswith("."))
            for name in sorted(files):
                source = Path(root, name)
                if name.startswith(".") or not source.is_file():
                    continue
                target = self.path / "inventory" / source.relative_to(inventory)
                target.parent.mkdir(parents=True, exist_ok=True)
                text = source.read_text(encoding="utf-8", errors="replace")
                target.write_text(self._secrets.scrub(without_secrets(text)), encoding="utf-8")

    def event(self, phase: str, event: Event) -> None:
        """Keep one event; a node's environment file that a task read goes into `nodes/`."""
        line = self._secrets.scrub({"phase": phase, **event.as_json()})
        self._events.write(json.dumps(line, default=str) + "\n")
        self._events.flush()
        environment = node_environment(event)
        if environment is not None:
            target = self.path / "nodes" / f"{event.host}.env"
            target.parent.mkdir(exist_ok=True)
            target.write_text(self._secrets.scrub(without_secrets(printable(environment))), encoding="utf-8")

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

    def _write(self, name: str, data: Mapping[str, Any]) -> None:
        text = json.dumps(self._secrets.scrub(dict(data)), indent=2, default=str) + "\n"
        (self.path / name).write_text(text, encoding="utf-8")


def node_environment(event: Event) -> str | None:
    """The text of /etc/noslop/node.env when the event is that of a task that read it back (`slurp`)."""
    if event.kind != "ok" or event.result.get("source") != NODE_ENV:
        return None
    try:
        return base64.b64decode(str(event.result.get("content", "")), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def without_secrets(text: str) -> str:
    """An inventory file's text with the values of passwords, tokens and keys left out."""
    text = _SECRET_LINE.sub(lambda found: f"{found['indent']}{found['name']} {SCRUBBED!r}", text)
    return _SECRET_PAIR.sub(
        lambda found: found[0] if SCRUBBED in found["value"] else f"{found['name']}{SCRUBBED!r}", text
    )


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


def _new_directory(records: Path, now: datetime) -> Path:
    """Make `records/<time>`; a second record of the same second gets a number."""
    records.mkdir(parents=True, exist_ok=True)
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
