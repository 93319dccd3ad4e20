# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the verification of a client whose storage server is away, with a share that never answers.

`timeout` is longer than any test may take: a verification that waits for it does not end here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.verification import Verification

from tests.support.silent_fuse import silent_mount
from tests.support.verification_options import AWAY, SHARES, make_client_options

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount, and act as another account")


@pytest.fixture
def options(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Return the options of a client with a mounted share that never answers."""
    for path in (tmp_path.parent.parent, tmp_path.parent, tmp_path):
        path.chmod(0o755)
    share = tmp_path / "projects"
    share.mkdir()
    with silent_mount(share):
        yield make_client_options(share)


@root_only
@pytest.mark.slow
def test_verification_without_a_server_ends_and_names_the_server_and_each_share(options: dict[str, Any]) -> None:
    written = Verification(options, writes=True).write()["written"]
    peers = {"worker2": written}
    checks = Verification({**options, "peers": peers}, writes=True).read()["checks"]
    cleaned = Verification({**options, "run_id": written["run_id"]}, writes=True).cleanup()

    failed = {(check["check"], check["share"]): check for check in checks if not check["ok"]}
    assert failed["storage.server", ""]["seen"].startswith(f"{AWAY}:2049: ")
    assert "systemctl status nfs-server" in failed["storage.server", ""]["todo"]
    for share in SHARES:
        assert "no answer within 5 s" in failed["storage.mounted", share]["seen"]
    assert "storage.written" not in {check for check, _ in failed}, "it is said once that the server is away"
    assert written["nonces"] == {}
    assert "the storage server takes no connections" in written["results"]["projects"]["error"]
    assert cleaned == {"removed": []}


@root_only
def test_address_that_the_server_refuses_is_named_beside_the_server(options: dict[str, Any]) -> None:
    moved = {**options, "shares": [], "scope": ["storage"]}
    checks = Verification(moved, writes=True).read()["checks"]

    failed = {check["check"]: check for check in checks if not check["ok"]}
    assert "127.0.0.1, which it refuses: in the inventory worker2 is 127.0.0.2" in failed["storage.address"]["seen"]
    assert "mend storage.address first" in failed["storage.server"]["todo"]
