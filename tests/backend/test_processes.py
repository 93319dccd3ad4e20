# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A short form of `python -m tests.backend.processes`."""

from __future__ import annotations

import os

from noslop_backend.errors import QuotaExceededError
from noslop_backend.layout import FileKind
from noslop_backend.models import ProjectUpdate

from tests.backend.processes import run
from tests.backend.studio import Studio


def test_processes_killed_at_random_lose_nothing(studio: Studio) -> None:
    done = run(studio, operations=240, processes=4, kills=12, seed=7)
    assert done.kills >= 10


def test_processes_share_a_quota_to_the_last_byte(studio: Studio, project: str) -> None:
    """Each saves until there is no room; together they got all of it and no more."""
    studio.storage.update_project_metadata(project, ProjectUpdate(quota_bytes=25 * 40))
    studio.close()
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            storage, status = studio.another(), 1
            try:
                while True:
                    storage.save_intermediate(project, FileKind.FRAME, "f", b"x" * 40)
            except QuotaExceededError:
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    # Whoever was refused may have been refused for what another gave back: the last bytes are still to be had.
    while studio.storage.get_project(project).used_bytes < 25 * 40:
        studio.storage.save_intermediate(project, FileKind.FRAME, "f", b"x" * 40)
    assert studio.storage.get_storage_stats(project).intermediate_count == 25
    studio.check(project)
