# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the reasons against a mount, before anything is changed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import Mount
from ansible_collections.noslop.studio.plugins.module_utils.nfs import client_state

OPTIONS = "vers=4.2,hard,nosuid,nodev"
LIVE = {"vers": "4.2", "hard": "", "nosuid": "", "nodev": ""}
SHARE = client_state.Share("projects", "/mnt/noslop/projects", "10.0.0.1:/mnt/noslop/projects", OPTIONS)


def nfs(path: str, source: str = SHARE.source) -> Mount:
    return Mount(path, "nfs4", source, "0:48", options=LIVE)


def autofs(path: str) -> Mount:
    return Mount(path, "autofs", "systemd-1", "0:35")


def test_missing_or_empty_directory_can_be_a_mount_point(tmp_path: Path) -> None:
    assert client_state.find_mount_point_problems(str(tmp_path), [], ours=False) == []
    assert client_state.find_mount_point_problems(str(tmp_path / "missing"), [], ours=False) == []


@pytest.mark.parametrize("name", ["model.safetensors", ".hidden"])
@pytest.mark.parametrize("ours", [True, False])
def test_files_are_never_hidden(tmp_path: Path, name: str, ours: bool) -> None:
    (tmp_path / name).write_text("precious")

    (problem,) = client_state.find_mount_point_problems(str(tmp_path), [], ours=ours)

    assert name in problem
    assert f"mv {tmp_path} {tmp_path}.before-noslop" in problem


def test_mounted_disk_is_refused_even_with_our_units(tmp_path: Path) -> None:
    disk = Mount(str(tmp_path), "ext4", "/dev/sdb1", "8:17")

    (problem,) = client_state.find_mount_point_problems(str(tmp_path), [disk], ours=True)

    assert "/dev/sdb1 (ext4) is mounted" in problem


def test_foreign_nfs_mount_or_automount_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path)

    assert "is mounted at" in client_state.find_mount_point_problems(path, [nfs(path)], ours=False)[0]
    assert "not NoSlop's" in client_state.find_mount_point_problems(path, [autofs(path)], ours=False)[0]


def test_own_mount_is_not_accessed(tmp_path: Path) -> None:
    # A path of a server that is down blocks; here a file in it represents what must not be read.
    (tmp_path / "share").write_text("")
    path = str(tmp_path / "share")

    assert client_state.find_mount_point_problems(path, [autofs(path), nfs(path)], ours=True) == []
    assert client_state.find_mount_point_problems(path, [autofs(path)], ours=True) == []


def test_right_mount_with_automount_stays() -> None:
    assert client_state.find_reasons_to_unmount(SHARE, [autofs(SHARE.path), nfs(SHARE.path)]) == []
    assert client_state.find_reasons_to_unmount(SHARE, [autofs(SHARE.path)]) == []
    assert client_state.find_reasons_to_unmount(SHARE, []) == []


def test_mount_without_automount_or_from_another_source_is_remounted() -> None:
    assert client_state.find_reasons_to_unmount(SHARE, [nfs(SHARE.path)]) == ["its automount is missing"]
    (reason,) = client_state.find_reasons_to_unmount(SHARE, [autofs(SHARE.path), nfs(SHARE.path, "10.0.0.9:/x")])
    assert reason == "it comes from 10.0.0.9:/x, not 10.0.0.1:/mnt/noslop/projects"


def test_units_have_the_names_that_systemd_requires() -> None:
    assert SHARE.units == ("mnt-noslop-projects.mount", "mnt-noslop-projects.automount")


def test_server_with_a_listener_accepts_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(client_state, "NFS_PORT", server.getsockname()[1])
        client_state.accepts_connections.cache_clear()
        assert client_state.accepts_connections("127.0.0.1")
    client_state.accepts_connections.cache_clear()
    assert not client_state.accepts_connections("127.0.0.1")


@pytest.mark.parametrize(("options", "named"), [("vers=4.2,hard", False), ("vers=4.2,hard,xprtsec=mtls", True)])
def test_refused_mount_over_tls_names_the_journal_of_the_handshakes(options: str, named: bool) -> None:
    step = client_state.find_refusal_step(options)

    assert "run the storage playbook for all hosts" in step
    assert ("journalctl -u tlshd.service" in step) == named
