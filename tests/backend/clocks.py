# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service, and a PostgreSQL, on a host whose clock steps: every program on it asks libfaketime what time it is.

`python -m tests.backend.clocks` is the service's process: it serves HTTP, and runs jobs as their timers would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from noslop_backend.core.enums import TokenScope
from noslop_backend.core.errors import BackendError
from noslop_backend.maintenance import retention
from noslop_backend.maintenance.backup import backup
from noslop_backend.maintenance.reconcile import reconcile
from noslop_backend.services import ProjectStorage
from noslop_backend.services.tokens import Tokens

from tests.backend.api.serving import serving
from tests.backend.studio import Studio


class Clock:
    """The clock of the programs that get its environment. What they wait for goes by as ever."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.set()
        # PostgreSQL runs as somebody else.
        file.chmod(0o644)

    def set(self, away: timedelta = timedelta(0)) -> None:
        """Let it be so far ahead of this process's, or behind."""
        self.file.write_text(f"{away.total_seconds():+.0f}\n")

    def environment(self) -> dict[str, str]:
        """What a program needs to see this clock (faketime(1))."""
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        assert found, "libfaketime is not installed (make programs, or Debian: apt install faketime)"
        return {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


class Stepped:
    """The service of a studio on a host with such a clock."""

    def __init__(self, studio: Studio, clock: Clock, process: subprocess.Popen[str]) -> None:
        self.studio = studio
        self.clock = clock
        self._process = process
        said = self._answer()
        self.client = httpx.Client(
            base_url=said["url"], headers={"Authorization": said["token"]}, timeout=httpx.Timeout(None), trust_env=False
        )

    @classmethod
    @contextmanager
    def started(cls, studio: Studio, clock: Clock) -> Iterator[Stepped]:
        """Run the service until the end of the block."""
        command = [sys.executable, "-m", "tests.backend.clocks", str(studio.root), studio.url, studio.share_id]
        environment = {**os.environ, **clock.environment()}
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
            stepped = cls(studio, clock, process)
            with stepped.client:
                yield stepped
            process.communicate()

    def job(self, name: str, /, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - what the job takes
        """Run a job there; gives its report, or `refused` with the code of the error."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


def _token(storage: ProjectStorage, name: str, days: float) -> dict[str, Any]:
    return {"text": Tokens(storage.database).create(name, TokenScope.READ, timedelta(days=days)).text}


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "recover": lambda storage: asdict(retention.expire_intents(storage)),
    "retention": lambda storage, **arguments: asdict(retention.apply_retention(storage, **arguments)),
    "reconcile": lambda storage: asdict(reconcile(storage, apply=True)),
    "backup": lambda storage, **arguments: asdict(backup(storage, **arguments)),
    "token": _token,
}


def main() -> int:
    """The service's process: it ends with its standard input."""
    root, url, share_id = sys.argv[1:]
    storage = Studio(Path(root), url, share_id).storage
    with serving(storage) as served:
        print(json.dumps({"url": served.url, "token": served.client.headers["Authorization"]}), flush=True)
        for line in sys.stdin:
            name, arguments = json.loads(line)
            try:
                answer = JOBS[name](storage, **arguments)
            except BackendError as error:
                answer = {"refused": error.code}
            print(json.dumps(answer, default=str), flush=True)
    storage.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
