# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A studio of one machine for the tests of this directory, in a container."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.lab.containers import GATEWAY, containers
from tests.support.lab.machines import LAB, MIRROR_PORT, ROOT, Machine
from tests.support.lab.wheel import build

MIRROR = f"http://{GATEWAY}:{MIRROR_PORT}"
STUDIO = "inventories/solo"
PATIENCE_S = 900.0


@dataclass(frozen=True)
class Solo:
    """The host, with NoSlop installed as its user would."""

    host: Machine

    def driver(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `noslop-driver` on the host; the caller looks at the exit code."""
        command = " ".join(("venv/bin/noslop-driver", *words, "--become-pass-file .password </dev/null"))
        return self.host.run(command, timeout_s=PATIENCE_S)

    def driver_json(self, *words: str) -> tuple[int, dict[str, Any]]:
        """The same with `--json`: exit code, and what was printed."""
        done = self.driver(*words, "--json")
        assert done.stdout.lstrip().startswith("{"), f"no JSON: {done.stdout}{done.stderr}"
        result: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, result


@pytest.fixture(scope="session")
def solo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Solo]:
    """A bare container with the wheel in a virtual environment of its user's."""
    directory = tmp_path_factory.mktemp("wheel")
    wheel = build(directory)
    pins = directory / "mirror.yml"
    with containers() as made:
        host = made["role-server"]
        manifest = str(LAB / "artifacts" / "manifest.json")
        subprocess.run(["python", "lab/studio/pins.py", manifest, MIRROR, str(pins)], cwd=ROOT, check=True)
        host.output_of("apt-get update -q && apt-get install -qy python3-venv", root=True, timeout_s=PATIENCE_S)
        put(host, wheel, wheel.name)
        put(host, pins, f"{STUDIO}/group_vars/all/mirror.yml")
        put(host, LAB / "sudo_password", ".password")
        host.output_of("chmod 600 .password; python3 -m venv venv")
        host.output_of(f"venv/bin/pip install -q ./{wheel.name}", timeout_s=PATIENCE_S)
        yield Solo(host)


def put(host: Machine, file: Path, where: str) -> None:
    """Copy a file below the user's home."""
    host.output_of(f"mkdir -p $(dirname {where})")
    with file.open("rb") as stream:
        subprocess.run([*host.ssh(), f"cat > {where}"], stdin=stream, check=True)
