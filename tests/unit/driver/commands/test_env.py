# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that `env` prints lines that a shell evaluates to the variables of a host, over a real SSH server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.driver_cli import run, run_json
from tests.support.ssh_studio import SshStudio
from tests.unit.conftest import StartSshd

NODE = 'NOSLOP_STUDIO_ID="abc"\nPROJECT_STORAGE_DIR="/mnt/it\'s :a: here;/projects"\nLD_PRELOAD="/tmp/evil.so"\n'


@pytest.fixture
def studio(tmp_path: Path, sshd_server: StartSshd) -> SshStudio:
    studio = SshStudio(tmp_path / "studio", {"server": sshd_server("127.0.0.2")})
    file = tmp_path / "node.env"
    file.write_text(NODE, encoding="utf-8")
    more = studio.directory.path / "group_vars/all/more.yml"
    more.write_text(json.dumps({"node_env_file": str(file)}), encoding="utf-8")
    return studio


@pytest.mark.long
def test_lines_are_evaluated_by_a_shell_and_nothing_else_is_printed(studio: SshStudio) -> None:
    done = run("env", "server", "--inventory", str(studio.directory.path))
    assert done.returncode == 0
    script = done.stdout + 'printf "%s|%s|%s" "$NOSLOP_STUDIO_ID" "$PROJECT_STORAGE_DIR" "${LD_PRELOAD-}"'
    shown = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True)
    assert shown.stdout == "abc|/mnt/it's :a: here;/projects|"
    assert "Left out, since they are not the studio's: LD_PRELOAD" in done.stderr
    assert all(line.startswith("export ") for line in done.stdout.splitlines())


def test_variables_are_in_the_json(studio: SshStudio) -> None:
    output, done = run_json("env", "server", "--inventory", str(studio.directory.path))
    assert done.returncode == 0
    assert output["variables"] == {"NOSLOP_STUDIO_ID": "abc", "PROJECT_STORAGE_DIR": "/mnt/it's :a: here;/projects"}
    assert (output["host"], output["left_out"]) == ("server", ["LD_PRELOAD"])


def test_host_that_is_away_or_unknown_is_named(studio: SshStudio) -> None:
    words = ("--inventory", str(studio.directory.path))
    done = run("env", "worker", *words)
    assert (done.returncode, done.stdout) == (4, "")
    assert "nothing listens on port 1" in done.stderr
    done = run("env", "films", *words)
    assert done.returncode == 2
    assert "films is no host of" in done.stderr


def test_host_that_was_not_deployed_has_none(studio: SshStudio, tmp_path: Path) -> None:
    (tmp_path / "node.env").unlink()
    done = run("env", "server", "--inventory", str(studio.directory.path))
    assert done.returncode == 1
    assert "'noslop-driver deploy' writes it" in done.stderr
