# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test a verification that ends within a bound: a share that never answers costs the checks of one part at most."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.bounded import read_within

from tests.support.silent_fuse import silent_mount
from tests.support.verification_options import make_client_options

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount, and act as another account")


@root_only
def test_part_that_does_not_end_is_a_failed_check_and_the_other_one_is_kept(tmp_path: Path) -> None:
    for path in (tmp_path.parent.parent, tmp_path.parent, tmp_path):
        path.chmod(0o755)
    share = tmp_path / "projects"
    share.mkdir()
    options = {**make_client_options(share), "provider": "local", "ollama": True}
    with silent_mount(share):
        checks = read_within(options, 2.0, writes=False)["checks"]
    failed = {check["check"]: check for check in checks if not check["ok"]}

    assert failed["host.checks"]["seen"] == "the checks of its storage: no answer within 2 s"
    assert "services.ollama_unit" in failed


@root_only
def test_share_that_hung_while_it_was_written_is_waited_for_briefly(tmp_path: Path) -> None:
    for path in (tmp_path.parent.parent, tmp_path.parent, tmp_path):
        path.chmod(0o755)
    share = tmp_path / "projects"
    share.mkdir()
    hung = {"projects": {"error": "no answer within 1 s", "hung": True}}
    peers = {"worker2": {"results": hung, "nonces": {}, "address": "127.0.0.2", "ports": {}}}
    options = {**make_client_options(share), "provider": "local", "timeout": 1.0, "bound": 60.0, "peers": peers}
    with silent_mount(share):
        checks = read_within(options, 60.0, writes=True)["checks"]

    failed = {check["check"]: check for check in checks if not check["ok"]}
    assert "no answer within 1 s" in failed["storage.mounted"]["seen"]
    assert "host.checks" not in failed
