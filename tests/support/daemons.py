# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start a stand-in, wait until it prints that it listens, send it requests, stop it."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

STANDINS = Path(__file__).resolve().parents[2] / "lab" / "standins"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 (any JSON)
        return json.loads(self.body)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.body.splitlines()]


class Daemon:
    """A server process. `listening` matches its port in what it prints. It is stopped when the block ends."""

    def __init__(
        self, command: list[str], listening: str, env: dict[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self._command, self._listening, self._env, self._cwd = command, re.compile(listening), env, cwd
        self._printed: list[str] = []
        self.port = 0

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._command, env=self._env, cwd=self._cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._printed.append(line)
            if match := self._listening.search(line):
                self.port = int(match[1])
                break
        else:
            raise AssertionError(f"{self._command} ended with {self.process.wait()}:\n{self.log}")
        self._reader = threading.Thread(target=self._printed.extend, args=(self.process.stdout,))
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.process.wait()
        self._reader.join()

    @property
    def log(self) -> str:
        return "".join(self._printed)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(self, method: str, path: str, body: object = None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.request("GET", path)


def run(
    *command: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], env=env, cwd=cwd, capture_output=True, text=True, check=False
    )


def check_success(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a program printed on standard output. Fail the test when it ended with another code than 0."""
    assert done.returncode == 0, f"{done.args} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout
