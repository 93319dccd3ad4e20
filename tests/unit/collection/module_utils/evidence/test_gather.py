# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test gathering: the module returns the evidence of this host, and a share that never answers delays no other part."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.evidence.gather import gather, list_units

from tests.support.module_runner import run_module
from tests.support.silent_fuse import silent_mount

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount, and act as another account")


def make_arguments(directory: Path, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - parameters of the module
    return {
        "phase": "evidence", "host": "one", "studio_id": "studio", "address": "127.0.0.1", "server": True,
        "shares": [{"name": "projects", "path": str(directory / "projects"), "kind": "work", "owner": "noslop"}],
        "accounts": [vars(account) for account in studio.accounts({})], **more,
    }  # fmt: skip


@root_only
def test_module_returns_the_evidence_of_this_host(tmp_path: Path) -> None:
    for path in (tmp_path.parent.parent, tmp_path.parent, tmp_path):
        path.chmod(0o755)
    (tmp_path / "projects").mkdir()
    result = run_module("studio_check", make_arguments(tmp_path, ollama=True))
    evidence = result["evidence"]

    assert result["changed"] is False
    assert evidence["identity"]["hostname"]
    assert [disk["path"] for disk in evidence["disks"]] == ["/", "/var", str(tmp_path / "projects")]
    assert evidence["trees"]["projects"]["count"] == 0
    assert set(evidence["ports"]) == {"ollama"}
    assert evidence["unanswered"] == {}


@root_only
def test_share_that_never_answers_is_named_and_the_other_parts_are_there(tmp_path: Path) -> None:
    for path in (tmp_path.parent.parent, tmp_path.parent, tmp_path):
        path.chmod(0o755)
    share = tmp_path / "projects"
    share.mkdir()
    defaults = {
        "firewall_enabled": True,
        "provider": "nfs",
        "smb": False,
        "monitor": False,
        "backend_unit": "b.service",
    }
    options = {
        **make_arguments(tmp_path), **defaults, **dict.fromkeys(("ollama", "comfyui", "backend"), False),
        "tls_files": {},
    }  # fmt: skip
    with silent_mount(share):
        evidence = gather(options, 1.0)

    assert set(evidence["unanswered"]) == {f"disk {share}", "tree projects"}
    assert "no answer within 1 s" in evidence["unanswered"]["tree projects"]
    assert [disk["path"] for disk in evidence["disks"]] == ["/", "/var"]
    assert evidence["identity"]["hostname"]


def test_units_of_a_host_are_those_of_its_roles() -> None:
    roles = dict.fromkeys(("ollama", "comfyui", "backend", "server", "smb", "monitor"), False)
    units = {f"{name}_unit": service.unit for name, service in studio.SERVICES.items()}
    options = {**roles, **units, "firewall_enabled": True, "provider": "nfs", "shares": [{"path": "/mnt/noslop/x"}]}

    assert list_units({**options, "server": True, "backend": True}) == [
        "noslop-backend.service",
        *(f"noslop-backend-{job}.timer" for job in ("recover", "retention", "backup", "reconcile")),
        studio.FIREWALL_UNIT,
        studio.NFS_SERVER_UNIT,
    ]
    assert list_units({**options, "ollama": True, "firewall_enabled": False, "transport": "tls"}) == [
        "noslop-ollama.service",
        "mnt-noslop-x.automount",
        "mnt-noslop-x.mount",
        studio.TLSHD_UNIT,
    ]
