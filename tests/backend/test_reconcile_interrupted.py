# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reconcile that stops, is killed, or meets another one goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from noslop_backend.core.enums import FileState
from noslop_backend.core.errors import InProgressError
from noslop_backend.maintenance.reconcile import ReconcileReport, reconcile
from noslop_backend.services import ProjectStorage, StorageContext
from noslop_backend.share import Share

from tests.backend.filled import Filled, fill
from tests.backend.studio import STUDIO, Studio, png


def look(studio: Studio, *, apply: bool = True, yes_really: bool = False) -> ReconcileReport:
    return reconcile(studio.storage, apply=apply, apart_s=0, yes_really=yes_really)


def sound(studio: Studio, filled: Filled) -> None:
    assert studio.drift(filled.project_id) == []


@pytest.fixture
def filled(studio: Studio) -> Filled:
    return fill(studio.storage)


def test_a_run_that_stopped_goes_on_where_it_was(studio: Studio, filled: Filled) -> None:
    other = fill(studio.storage, "Zebra")
    first, second = sorted([filled.project_id, other.project_id])
    broken = studio.root / second / "final"
    broken.rename(broken.with_name("aside"))
    broken.symlink_to("aside")
    (studio.root / first / "generated/images/left.png").write_bytes(png(1))
    with pytest.raises(Exception, match="final"):
        look(studio)
    broken.unlink()
    broken.with_name("aside").rename(broken)
    resumed = look(studio)
    assert resumed.resumed
    assert resumed.projects_count == 2
    # Once: a run that goes on does not look a second time, neither at what it saw nor at what it has yet to see.
    assert (resumed.counts, resumed.waiting_count) == ({"stranger": 1}, 1)
    after = look(studio)
    assert (after.resumed, after.counts) == (False, {"left": 1})


MORTAL = """
import os, signal, sys
from contextlib import contextmanager
from noslop_backend.maintenance.reconcile import reconcile
from noslop_backend.core.settings import Settings
from noslop_backend.services import ProjectStorage, StorageContext

class Mortal(StorageContext):
    left = int(sys.argv[4])

    @contextmanager
    def share(self):
        Mortal.left -= 1
        if not Mortal.left:
            os.kill(os.getpid(), signal.SIGKILL)
        with super().share() as share:
            yield share

settings = Settings(_env_file=None, studio_id=sys.argv[1], project_storage_dir=sys.argv[2], database_url=sys.argv[3])
settings = settings.model_copy(update={"lease_s": 0})
reconcile(ProjectStorage(Mortal.open(settings)), apply=True, apart_s=0)
"""


@pytest.mark.parametrize("calls", [3, 20, 21, 39])
def test_a_run_that_is_killed_loses_nothing(studio: Studio, filled: Filled, calls: int) -> None:
    """At its beginning, in the middle of the first project, when it acts, and in the second."""
    other = fill(studio.storage, "Zebra")
    for each in (filled, other):
        top = studio.root / each.project_id
        (top / each.workflow.path).unlink()
        os.utime(top / each.latent.path, ns=(1, 1))
    look(studio)
    arguments = [STUDIO, str(studio.root), studio.url, str(calls)]
    killed = subprocess.run([sys.executable, "-c", MORTAL, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    report = look(studio)
    assert report.resumed
    found = [studio.storage.get_file(each.project_id, each.workflow.id).state for each in (filled, other)]
    assert found == [FileState.MISSING, FileState.MISSING]
    sound(studio, filled)
    sound(studio, other)
    assert look(studio).counts == {}


def test_two_at_once_are_one_too_many(studio: Studio, filled: Filled) -> None:
    refused: list[str] = []

    class Nosy(StorageContext):
        """A service beside which another run begins as soon as its own is at work."""

        @contextmanager
        def share(self) -> Iterator[Share]:
            with super().share() as share:
                if self.works and not refused:
                    with pytest.raises(InProgressError, match="at work"):
                        look(studio)
                    refused.append(filled.project_id)
                self.works = True
                yield share

        works = False

    nosy = ProjectStorage(Nosy.open(studio.settings()))
    report = reconcile(nosy, apart_s=0)
    nosy.close()
    assert (report.projects_count, len(refused)) == (1, 1)
    assert look(studio, apply=False).projects_count == 1
