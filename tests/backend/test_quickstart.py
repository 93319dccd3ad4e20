# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the commands of docs/api.md as they are written, from the marker of a share to the last line of curl."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.console_steps import read_all_steps

ROOT = Path(__file__).parents[2]


def find_free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def test_the_documented_commands_print_what_the_document_shows(tmp_path: Path) -> None:
    """All but the first, which installs the wheel: this environment has the backend already."""
    install, *steps = read_all_steps((ROOT / "docs/api.md").read_text("utf-8"))
    assert install.command.startswith("python3 -m venv venv && venv/bin/pip install")
    script = ["set -eu", "trap 'kill $SERVER' EXIT"]
    for number, step in enumerate(steps):
        script += [step.command, f"echo; echo END {number}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NOSLOP_", "PROJECT_"))}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", "\n".join(script).replace("8765", str(find_free_port()))],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    printed = re.split(r"^END \d+$", done.stdout, flags=re.MULTILINE)
    for step, text in zip(steps, printed, strict=False):
        assert step.is_printed(text), f"{step.command} printed:\n{text}\ninstead of: {step.output}"
