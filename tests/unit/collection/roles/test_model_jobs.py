# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the program that the role model_jobs installs: its files are complete, and it runs without Ansible."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.lookup import program_files

from tests.support.ollama_models import write_model
from tests.support.page_cache import evict, write_cold

COLLECTION = Path(__file__).parents[4] / "collections/ansible_collections/noslop/studio"
ROLE = COLLECTION / "roles/model_jobs"
PACKAGE = "ansible_collections/noslop/studio/plugins/module_utils"
PATH = "checkpoints/painter.safetensors"
CONTENT = os.urandom(1 << 20)


class Host:
    """A host with the installed program, two shares and its settings."""

    def __init__(self, root: Path) -> None:
        for path in (root.parent.parent, root.parent, root):
            path.chmod(0o755)
        self.root, self.program = root, root / "program"
        for name in program_files.list_files(["models/jobs"]):
            target = self.program / PACKAGE / f"{name}.py"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(COLLECTION / f"plugins/module_utils/{name}.py", target)
        shutil.copyfile(ROLE / "templates/__main__.py.j2", self.program / "__main__.py")
        self.file, self.store, self.record = root / "comfyui_models" / PATH, root / "ollama_models", root / "record"
        self.record.mkdir()
        write_cold(self.file, CONTENT)
        write_model(self.store, "painter:1b", CONTENT[::-1])
        for name in ("comfyui_models", "ollama_models"):
            marker = {"studio_id": "studio", "share": name, "share_id": "1"}
            (root / name / ".noslop-share").write_text(json.dumps(marker))

    def run(self, job: str, memory_percent: float = 50) -> subprocess.CompletedProcess[str]:
        settings = {
            "studio_id": "studio",
            "shares": [
                {"name": name, "path": str(self.root / name), "owner": getpass.getuser()}
                for name in ("comfyui_models", "ollama_models")
            ],
            "warm": [{"path": PATH, "ollama": ""}, {"path": "", "ollama": "painter:1b"}],
            "memory_percent": memory_percent,
            "files": [{"path": PATH, "sha256": hashlib.sha256(CONTENT).hexdigest()}],
            "ollama": ["painter:1b"],
            "daily_bytes": 10**9,
            "record_directory": str(self.record),
        }
        (self.root / "settings.json").write_text(json.dumps(settings))
        command = ["/usr/bin/python3", "-IB", str(self.program), job, str(self.root / "settings.json")]
        return subprocess.run(command, cwd="/", env={}, capture_output=True, text=True, check=False)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_warm_models_are_read_and_a_second_run_reads_nothing(host: Host) -> None:
    first = host.run("warm")
    assert (first.returncode, first.stderr) == (0, "")
    assert f"{PATH}: warm, 1048576 of 1048576 bytes in memory, 1048576 read" in first.stdout
    assert "painter:1b: warm, " in first.stdout
    assert f"{PATH}: warm, 1048576 of 1048576 bytes in memory, 0 read" in host.run("warm").stdout


def test_model_without_room_is_named(host: Host) -> None:
    done = host.run("warm", memory_percent=0)
    assert done.returncode == 0
    assert f"{PATH}: no_room, 0 of 1048576 bytes in memory, 0 read: it has 1048576 bytes, and 0 are left" in done.stdout


@pytest.mark.parametrize("job", ["warm", "verify"])
def test_share_that_is_away_asks_for_another_try(host: Host, job: str) -> None:
    (host.root / "ollama_models/.noslop-share").unlink()
    done = host.run(job)
    assert done.returncode == 75, "the unit's Restart=on-failure"
    assert f"{host.store} is not a share of the studio, or is not mounted" in done.stderr


def test_damaged_file_fails_the_daily_check_until_it_is_repaired(host: Host) -> None:
    first = host.run("verify")
    assert (first.returncode, first.stderr) == (0, "")
    assert "3 files are what they were" in first.stdout
    damaged = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    host.file.write_bytes(damaged)
    evict(host.file)
    for _day in range(2):
        done = host.run("verify")
        assert done.returncode == 1
        expected, actual = (hashlib.sha256(content).hexdigest() for content in (CONTENT, damaged))
        assert f"{host.file} of {PATH} is damaged: its SHA-256 is {actual}, and was {expected}" in done.stderr
    host.file.write_bytes(CONTENT)
    done = host.run("verify")
    assert (done.returncode, done.stderr) == (0, "")
