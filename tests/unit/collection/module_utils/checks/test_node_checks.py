# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which custom nodes of a share a verification lists as those of others."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.noslop.studio.plugins.module_utils.checks import node_checks
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account
from ansible_collections.noslop.studio.plugins.module_utils.install import node_store

OWN = Account(os.getuid(), os.getgid())
COMMIT = "1" * 40


def test_nodes_of_others_are_listed_with_their_commit_and_repository(tmp_path: Path) -> None:
    cloned = tmp_path / "by-hand"
    (cloned / ".git").mkdir(parents=True)
    (cloned / ".git" / "HEAD").write_text(COMMIT + "\n")
    (cloned / ".git" / "config").write_text('[remote "origin"]\n\turl = https://git.example.org/by-hand.git\n')
    (tmp_path / "single.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    (tmp_path / "websocket_image_save.py").write_text("# ComfyUI's own\n")
    (tmp_path / "off.disabled").mkdir()
    node_store.start_revision(str(tmp_path), "painter")
    node_store.finish_revision(str(tmp_path), "painter", COMMIT)
    node_store.link_revision(str(tmp_path), "painter", COMMIT)

    entries = node_checks.list_others(str(tmp_path), OWN)
    assert [(entry["name"], entry["commit"], entry["repo"]) for entry in entries] == [
        ("by-hand", COMMIT, "https://git.example.org/by-hand.git"),
        ("single.py", "", ""),
    ]


def test_share_that_is_missing_has_no_nodes(tmp_path: Path) -> None:
    assert node_checks.list_others(str(tmp_path / "missing"), OWN) == []
