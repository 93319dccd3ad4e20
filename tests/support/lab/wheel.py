"""The distribution as a user gets it: a wheel in a virtual environment that knows no checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.lab.machines import ROOT


@dataclass(frozen=True)
class Installation:
    """A virtual environment with nothing but the wheel, and an empty directory to work in."""

    bin: Path
    directory: Path

    def run(self, *command: str, timeout_s: float = 1800) -> subprocess.CompletedProcess[str]:
        """Run one of the environment's programs in the directory, blind to the checkout and to this environment."""
        hidden = ("ANSIBLE_", "PYTHON", "VIRTUAL_ENV")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        environment["PATH"] = f"{self.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=self.directory, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip


def build(where: Path) -> Path:
    """Build the wheel from the checkout into ``where``."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(where / "dist"), str(ROOT)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = (where / "dist").glob("*.whl")
    return wheel


def install(where: Path) -> Installation:
    """Build the wheel and install it below ``where``."""
    wheel = build(where)
    subprocess.run([sys.executable, "-m", "venv", str(where / "venv")], check=True)
    subprocess.run([str(where / "venv" / "bin" / "pip"), "install", "--quiet", str(wheel)], check=True)
    directory = where / "empty"
    directory.mkdir()
    return Installation(where / "venv" / "bin", directory)
