# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the driver's command line, without a terminal or on one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pexpect

from noslop_driver.cli.main import main
from tests.support.output_schema import check_output

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """The exit code and the output of a command."""

    returncode: int
    stdout: str
    stderr: str


def run(*words: str) -> Done:
    """Run the driver without a terminal."""
    out, err = io.StringIO(), io.StringIO()
    with (
        Path(os.devnull).open(encoding="utf-8") as null,
        _replace_stdin(null),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main(words)
    return Done(code, out.getvalue(), err.getvalue())


def run_json(*words: str) -> tuple[dict[str, Any], Done]:
    """Run the driver with `--json` and parse its output, which must be one JSON object as the schema describes it."""
    done = run(*words, "--json")
    output: dict[str, Any] = json.loads(done.stdout)
    check_output(words, output)
    assert output["exit_code"] == done.returncode
    assert output["ok"] is (done.returncode == 0)
    return output, done


def spawn_on_terminal(*words: str) -> pexpect.spawn[str]:
    """Start the driver on a new terminal."""
    command = ["-m", "noslop_driver.cli.main", *words]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/collections", "TERM": "xterm", "COLUMNS": "200"}
    return pexpect.spawn(sys.executable, command, env=environment, encoding="utf-8", timeout=60)


@contextlib.contextmanager
def _replace_stdin(file: IO[str]) -> Iterator[None]:
    before, sys.stdin = sys.stdin, file
    try:
        yield
    finally:
        sys.stdin = before
