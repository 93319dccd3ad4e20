# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what a login tells when ssh ends before it has read what Ansible sends."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support import sshd
from tests.support.driver_cli import run_json
from tests.unit.conftest import StartSshd

# Its first connection ends as one does that the server refuses on a busy computer: its input is closed, and it has
# not ended yet. Later ones are real.
CUT_OFF = """#!/bin/sh
case "$*" in *-V* | -G*) exec {ssh} "$@" ;; esac
mkdir {mark} 2>/dev/null || exec {ssh} "$@"
exec <&-
exec tail -f /dev/null
"""


@pytest.mark.long
def test_login_that_was_cut_off_is_tried_again(
    sshd_server: StartSshd, client_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = sshd_server("127.0.0.91", options=sshd.claim_systemd(tmp_path))
    programs = tmp_path / "programs"
    programs.mkdir()
    mark = tmp_path / "first"
    (programs / "ssh").write_text(CUT_OFF.format(ssh=shutil.which("ssh"), mark=mark), encoding="ascii")
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    Path("keys").write_text(f"own {server.public_key}\n", encoding="ascii")
    login = ["--user", server.user, "--ssh-key", str(client_key), "--host-keys", "keys", "--min-free-gb", "0"]
    output, _done = run_json("plan", "--host", server.host, *login, "--yes")
    assert mark.is_dir(), "the first connection was cut off"
    assert [host["address"] for host in output["plan"]["hosts"]] == ["127.0.0.91"]
