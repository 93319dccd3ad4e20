# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploy a studio of one machine in a container, for the tests of this directory."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.lab.containers import GATEWAY, running_containers
from tests.support.lab.driver import PrintedRun, parse_run
from tests.support.lab.machines import LAB, MIRROR_PORT, ROOT, Machine
from tests.support.lab.wheel import build

MIRROR = f"http://{GATEWAY}:{MIRROR_PORT}"
STUDIO = "inventories/solo"
TIMEOUT_S = 900.0
#: The words of a first deployment.
DEPLOY = ("deploy", "--local", "--studio solo --yes --min-free-gb 1 --artifact-mirror", MIRROR)


@dataclass(frozen=True)
class Solo:
    """A single host, with NoSlop installed as its user would."""

    host: Machine

    def run_driver(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `noslop-driver` on the host. The caller checks the exit code."""
        command = " ".join(("venv/bin/noslop-driver", *words, "--become-pass-file .password </dev/null"))
        return self.host.run(command, timeout_s=TIMEOUT_S)

    def run_driver_json(self, *words: str) -> tuple[int, PrintedRun]:
        """Run `noslop-driver ... --json` on the host. Return the exit code and the printed object."""
        done = self.run_driver(*words, "--json")
        return done.returncode, parse_run(words, done)


@pytest.fixture(scope="session")
def hosts() -> Iterator[dict[str, Machine]]:
    """Start two bare containers."""
    with running_containers() as machines:
        yield machines


@pytest.fixture(scope="session")
def bare_host(hosts: dict[str, Machine]) -> Machine:
    """Return a bare host, which is no member of a studio."""
    return hosts["role-worker"]


@pytest.fixture(scope="session")
def solo(hosts: dict[str, Machine], tmp_path_factory: pytest.TempPathFactory) -> Solo:
    """Install the wheel in a virtual environment of a bare host's user."""
    directory = tmp_path_factory.mktemp("wheel")
    wheel = build(directory)
    pins = directory / "mirror.yml"
    host = hosts["role-server"]
    manifest = str(LAB / "artifacts" / "manifest.json")
    subprocess.run(["python", "lab/studio/pins.py", manifest, MIRROR, str(pins)], cwd=ROOT, check=True)
    host.check_output("apt-get update -q && apt-get install -qy python3-venv", root=True, timeout_s=TIMEOUT_S)
    copy_file(host, wheel, wheel.name)
    copy_file(host, pins, f"{STUDIO}/group_vars/all/mirror.yml")
    copy_file(host, LAB / "sudo_password", ".password")
    host.check_output("chmod 600 .password; python3 -m venv venv")
    host.check_output(f"venv/bin/pip install -q ./{wheel.name}", timeout_s=TIMEOUT_S)
    return Solo(host)


def copy_file(host: Machine, file: Path, destination: str) -> None:
    """Copy a file below the user's home."""
    host.check_output(f"mkdir -p $(dirname {destination})")
    with file.open("rb") as stream:
        subprocess.run([*host.ssh(), f"cat > {destination}"], stdin=stream, check=True)
