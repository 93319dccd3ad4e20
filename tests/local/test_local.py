# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One machine alone is a studio too: the wheel on a bare host, `noslop-driver deploy --local` by an ordinary user."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.containers import GATEWAY, containers
from tests.lab.driver import changed_by_phase
from tests.lab.machines import LAB, MIRROR_PORT, ROOT, Machine
from tests.lab.wheel import build

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


@pytest.fixture(scope="module")
def solo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Solo]:
    """A bare container with the wheel in a virtual environment of its user's."""
    directory = tmp_path_factory.mktemp("wheel")
    wheel = build(directory)
    pins = directory / "mirror.yml"
    with containers() as made:
        host = made["role-server"]
        manifest = str(LAB / "artifacts" / "manifest.json")
        subprocess.run(["python", "molecule/studio/pins.py", manifest, MIRROR, str(pins)], cwd=ROOT, check=True)
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


def test_one_command_makes_a_studio_of_this_computer(solo: Solo) -> None:
    done = solo.driver("deploy", "--local", "--studio solo --yes --min-free-gb 1 --artifact-mirror", MIRROR)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"http://{solo.host.address}:8188" in done.stdout
    assert "ID" in solo.host.output_of("ollama list")
    ask = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8188/models').read().decode())"
    assert "checkpoints" in json.loads(solo.host.output_of(f'python3 -c "{ask}"'))
    assert solo.host.run("grep -q nfs /proc/mounts").returncode == 1


def test_a_second_time_changes_nothing(solo: Solo) -> None:
    code, result = solo.driver_json("deploy", "--local", "--studio solo --yes")
    assert code == 0, result
    changed = changed_by_phase(result)
    assert changed
    assert not any(changed.values()), changed


def test_teardown_leaves_what_was_made(solo: Solo) -> None:
    solo.host.output_of("echo precious > /mnt/noslop/projects/kept", root=True)
    done = solo.driver("teardown", "--inventory", STUDIO, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert solo.host.output_of("cat /mnt/noslop/projects/kept", root=True) == "precious\n"
    assert solo.host.output_of("systemctl list-units --all --no-legend 'noslop-*'") == ""
    assert "noslop" not in solo.host.output_of("nft list tables", root=True)
