# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the report of a probe on real file systems, good and bad ones, each mounted once for each of two hosts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, is_note

from tests.support.probe_hosts import probe

HOSTS = ("server", "worker")

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount"), pytest.mark.slow]


@contextmanager
def mounted(tmp_path: Path, *command: str) -> Iterator[dict[str, Path]]:
    """Mount a directory twice, with a program that gets the directory and the mount point as its last words."""
    (tmp_path / "data").mkdir()
    points = {host: tmp_path / host for host in HOSTS}
    try:
        for point in points.values():
            point.mkdir()
            source = f"localhost:{tmp_path}/data" if command[0] == "sshfs" else f"{tmp_path}/data"
            subprocess.run([*command, source, point], check=True)
        yield points
    finally:
        for point in points.values():
            subprocess.run(["umount", "--lazy", point], check=False)


def failures(checks: list[Check]) -> set[str]:
    return {check["check"] for check in checks if not check["ok"]}


def notes(checks: list[Check]) -> dict[str, str]:
    return {check["check"]: check["seen"] for check in checks if is_note(check) and check["check"] != "probe.speed"}


@pytest.fixture
def sshfs(tmp_path: Path) -> list[str]:
    """Return sshfs with the server of SFTP as its connection."""
    program = tmp_path / "sftp"
    program.write_text("#!/bin/sh\nexec /usr/lib/openssh/sftp-server\n")
    program.chmod(0o755)
    return ["sshfs", "-o", f"ssh_command={program}"]


def test_file_system_that_passes_everything_on_is_accepted(tmp_path: Path) -> None:
    with mounted(tmp_path, "bindfs") as points:
        checks = probe(points)

        assert failures(checks) == set()
        assert os.listdir(points["server"]) == []
    # Its locks stay on the host that has them.
    assert set(notes(checks)) <= {"probe.locks"}


def test_file_system_without_renames_is_refused(tmp_path: Path) -> None:
    with mounted(tmp_path, "bindfs", "--rename-deny") as points:
        checks = probe(points)

    assert failures(checks) == {"probe.replace", "probe.replace_across_hosts"}


def test_file_system_that_gives_files_another_owner_is_refused(tmp_path: Path) -> None:
    with mounted(tmp_path, "bindfs", "--force-user=nobody", "--perms=a+rwX") as points:
        checks = probe(points)

    assert failures(checks) == {"probe.owner", "probe.owners"}
    assert "probe.modes" in notes(checks)


@pytest.mark.long
def test_mount_that_remembers_for_long_what_was_missing_is_a_note_with_the_delay(tmp_path: Path) -> None:
    with mounted(tmp_path, "bindfs", "-o", "entry_timeout=7,negative_timeout=7") as points:
        checks = probe(points)

    assert failures(checks) == set()
    assert "a new file is seen here" in notes(checks)["probe.delay"]


def test_sshfs_is_accepted_with_what_it_lacks(tmp_path: Path, sshfs: list[str]) -> None:
    with mounted(tmp_path, *sshfs) as points:
        checks = probe(points)

    assert failures(checks) == set()
    assert {"probe.link_count", "probe.times"} <= set(notes(checks))


def test_sshfs_without_hard_links_is_refused_because_nothing_can_be_published(tmp_path: Path, sshfs: list[str]) -> None:
    with mounted(tmp_path, *sshfs, "-o", "disable_hardlink") as points:
        checks = probe(points)

    assert failures(checks) == {"probe.publish"}
    assert "finals are copies" in notes(checks)["probe.hard_links"]
