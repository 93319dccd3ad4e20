# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the record of a deployment: its plan, inventory, events, verification and outcome.

`.noslop/records/<time>/` has `look.json`, `plan.json`, `storage.json`, `nodes/<host>.env`, `inventory.json`,
`events.jsonl`, `verification.json`, `doctor.json`, `evidence.json`, `outcome.json`, and the log `run.log`, which
noslop_driver.output.run_log writes.
Only the variables and keys that are listed here are copied from the inventory, from files of hosts and from the results
of tasks, because any other value may be secret. In the copies, the passwords of the run and those in URLs are replaced.
The last three records of each command are kept.
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
from noslop_driver.output.printable import printable
from noslop_driver.secrets import Secrets, open_private

LOG = "run.log"
LOOK = "look"
"""The phase of a deployment that had nothing to do."""
NODE_ENV = studio.NODE_ENV_FILE
KEPT_RECORDS = 3
"""The number of records of each command that are kept."""

VARIABLES = frozenset(
    {
        "ansible_connection",
        "ansible_host",
        "ansible_port",
        "ansible_user",
        *studio.DEFAULTS,
        *studio.HOST_VARIABLES,
        *(service.port_variable for service in studio.SERVICES.values()),
    }
)
"""Variables of the inventory that are copied; of any other, not even the name is."""

NODE_VARIABLES = frozenset(
    {
        "NOSLOP_STUDIO_ID",
        "NOSLOP_STORAGE_ROOT",
        "SHARED_STORAGE_ENABLED",
        *(share.env for share in studio.shares({"noslop_studio_id": "any"})),
    }
)
"""Variables in a host's node.env that are copied: `node_env_extra` may add others."""

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

    @property
    def log(self) -> Path:
        """Return the path of the run's log."""
        return self.path / LOG

    def write_plan(self, plan: Plan) -> None:
        """Write the plan, and the configuration of the storage."""
        self._write("plan.json", plan.model_dump(mode="json"))
        settings = plan.settings
        storage = {
            "studio_id": settings.studio_id,
            "provider": settings.storage_provider,
            "root": settings.storage_root,
            "server": plan.server,
            "clients": [host.name for host in plan.members("storage_clients")],
            "shares": [asdict(share) for share in settings.shares()],
            "min_free_gb": settings.min_free_gb,
            "uid": settings.uid,
            "gid": settings.gid,
        }
        self._write("storage.json", storage)

    def write_look(self, look: Mapping[str, Any]) -> None:
        """Write what one look at every host before the deployment returned."""
        self._write("look.json", look)

    def write_inventory(self, members: Sequence[Member]) -> None:
        """Write the hosts of the inventory, with their groups and the listed variables."""
        hosts = {
            member.name: {
                "groups": sorted(member.groups),
                "variables": {name: member.variables[name] for name in sorted(VARIABLES & member.variables.keys())},
            }
            for member in members
        }
        self._write("inventory.json", {"hosts": hosts})

    def write_event(self, phase: str, event: Event) -> None:
        """Write an event; a node's environment file that a task read is written to `nodes/`."""
        line = self._secrets.scrub({"phase": phase, **event.as_json()})
        self._events.write(json.dumps(line, default=str) + "\n")
        self._events.flush()
        environment = read_node_environment(event)
        if environment is not None:
            target = self.path / "nodes" / f"{event.host}.env"
            target.parent.mkdir(mode=0o700, exist_ok=True)
            with _open(target) as file:
                file.write(self._secrets.scrub(printable(environment)))

    def add_phase(self, name: str, outcome: Outcome, seconds: float) -> None:
        """Add the outcome of a phase."""
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

    def write_verification(self, report: Mapping[str, Any]) -> None:
        """Write the report of the checks."""
        self._write("verification.json", report)

    def write_diagnosis(self, causes: Sequence[Mapping[str, Any]], evidence: Mapping[str, Any]) -> None:
        """Write the causes of failed checks, and the evidence of each host, with printable text only."""
        self._write("doctor.json", {"causes": causes})
        self._write("evidence.json", _clean(evidence))

    def finish(self, exit_code: int, message: str, version: str) -> None:
        """Write the outcome of the command, and close the record."""
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


def _clean(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return JSON with every text in it printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(str(key)): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value


def read_node_environment(event: Event) -> str | None:
    """Return the listed lines of /etc/noslop/node.env if the event is that of a task that read it (`slurp`)."""
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


def prune(records: Path, current: Path) -> None:
    """Remove all but the last records of each command, except `current`, which is being written.

    Those of deployments that had nothing to do are counted by themselves, and displace no record with a verification.
    """
    last: dict[tuple[str, bool], int] = {}
    for path in sorted(records.glob("*/"), reverse=True):
        try:
            outcome = json.loads((path / "outcome.json").read_text(encoding="utf-8"))
            command = str(outcome["command"])
            only_looked = [phase["phase"] for phase in outcome.get("phases") or []] == [LOOK]
        except (OSError, ValueError, KeyError):
            command, only_looked = "", False  # the command was killed
        kind = (command, only_looked)
        last[kind] = last.get(kind, 0) + 1
        if path != current and last[kind] > KEPT_RECORDS:
            shutil.rmtree(path)
        else:
            # Earlier versions copied inventory files into records, with any secrets in them.
            shutil.rmtree(path / "inventory", ignore_errors=True)


def find_latest(
    records: Path, command: str | None = None, having: str = "outcome.json"
) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest record with the file `having` (of `command`, if given), and its `outcome.json`."""
    for path in sorted(records.glob("*/"), reverse=True):
        outcome = path / "outcome.json"
        if not outcome.exists() or not (path / having).exists():
            continue
        data: dict[str, Any] = json.loads(outcome.read_text(encoding="utf-8"))
        if command is None or data.get("command") == command:
            return path, data
    return None


def find_last_answers(records: Path) -> dict[str, str]:
    """Return when each host last did a task of a recorded run, by its name: the end of that run, ISO 8601, UTC."""
    answers: dict[str, str] = {}
    for path in sorted(records.glob("*/outcome.json")):
        outcome = json.loads(path.read_text(encoding="utf-8"))
        for phase in outcome.get("phases") or []:
            for host, stats in phase["stats"].items():
                if stats["ok"] and not stats["unreachable"]:
                    answers[host] = str(outcome["finished"])
    return answers


def _open(path: Path) -> TextIO:
    return open(path, "w", encoding="utf-8", opener=open_private)


def _new_directory(records: Path, now: datetime) -> Path:
    """Make `records/<time>`, with a number for the second record of the same second."""
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
