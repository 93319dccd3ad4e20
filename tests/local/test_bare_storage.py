# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the playbook `storage` on a bare host without a network: predicted, removed without a trace, killed half-way.

The sample of tests/faults/test_aborted_storage.py, which does this on three machines with NFS after every task.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.lab.containers import INVENTORY
from tests.support.lab.host_state import find_remains, read_state
from tests.support.lab.machines import Machine
from tests.support.lab.storage_runs import StorageStudio, compare_changes, write_inventory

HOST = "role-worker"
#: A teardown keeps the shared directories with their marker, so those of other tests lie elsewhere.
STORAGE_ROOT = "/srv/bare"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> StorageStudio:
    """Return a studio of one bare container."""
    groups = write_inventory(
        tmp_path_factory.mktemp("inventory") / "groups.json",
        {"storage_server": [HOST], "storage_clients": []},
        noslop_studio_id="bare",
        noslop_storage_root=STORAGE_ROOT,
        noslop_storage_provider="local",
        noslop_min_free_gb=1,
    )
    return StorageStudio((INVENTORY, groups), (HOST,))


def test_check_mode_predicts_every_change_and_the_teardown_removes_them(
    hosts: dict[str, Machine], studio: StorageStudio, tmp_path: Path
) -> None:
    before = read_state(hosts[HOST])
    predicted = studio.converge("storage", "--check")
    assert find_remains(hosts[HOST], before) == [], "check mode changed something"

    made = studio.converge()

    assert len(made[HOST]) > 3, made
    assert compare_changes(predicted, made) == {}
    assert studio.converge() == {HOST: []}, "a second run changes something"
    assert find_remains(hosts[HOST], before) != []
    studio.converge("teardown")
    assert find_remains(hosts[HOST], before) == []


@pytest.mark.long
def test_run_that_is_killed_after_every_twelfth_task_is_continued(studio: StorageStudio) -> None:
    killed = studio.converge_killed(12)
    print(f"killed after {len(killed)} tasks: {killed}")
    assert len(killed) > 1
    assert studio.converge() == {HOST: []}
    studio.converge("teardown")
