# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the playbook `storage` on bare machines: check mode predicts it, and the next run continues a killed one.

The machines' image has the packages. Without them check mode, which downloads no lists, predicts no installation.
NOSLOP_ABORT_STEP kills after every so many tasks only: each takes a run of its own.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.lab.machines import CONTROLLER, LAB, reset_machines
from tests.support.lab.storage_runs import StorageStudio, compare_changes, write_inventory

WORKERS = ("worker1", "worker2")
STEP = int(os.environ.get("NOSLOP_ABORT_STEP", "1"))


@pytest.fixture
def bare(tmp_path: Path) -> StorageStudio:
    """Return a studio of three bare machines, with storage and nothing else."""
    reset_machines()
    groups = write_inventory(
        tmp_path / "groups.json",
        {"storage_server": ["server"], "storage_clients": WORKERS},
        noslop_studio_id="aborted",
        noslop_min_free_gb=1,
        noslop_users=["artist"],
        noslop_allowed_networks=[CONTROLLER],
    )
    return StorageStudio((LAB / "machines" / "inventory.yml", groups), ("server", *WORKERS))


def assert_converged(studio: StorageStudio) -> None:
    """Run the playbook again, which verifies the storage and must change nothing."""
    assert studio.converge() == {host: [] for host in studio.hosts}


def test_check_mode_on_bare_machines_predicts_every_change(bare: StorageStudio) -> None:
    predicted = bare.converge("storage", "--check")
    made = bare.converge()

    assert all(len(made[host]) > 3 for host in bare.hosts), made
    assert compare_changes(predicted, made) == {}
    assert_converged(bare)


def test_run_that_is_killed_after_every_task_is_continued_by_the_next(bare: StorageStudio) -> None:
    killed = bare.converge_killed(STEP)

    print(f"killed after {len(killed)} tasks: {killed}")
    assert len(killed) > 1
    assert_converged(bare)
