# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An import is killed: nothing half is ever seen, and whoever comes by takes it to its end."""

from __future__ import annotations

import array
import fcntl
import io
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from noslop_backend.archive import export, import_from
from noslop_backend.core.enums import ProjectState
from noslop_backend.core.errors import LeaseLostError
from noslop_backend.core.settings import Settings
from noslop_backend.journal.context import StorageContext
from noslop_backend.journal.intent import IntentHandle, P, Result
from noslop_backend.journal.journal import Apply, Journal
from noslop_backend.operations import RECOVER
from noslop_backend.services import ProjectStorage
from noslop_backend.share import hidden_dirs

from tests.backend.crash_import import run_all
from tests.backend.filled import facts, fill
from tests.backend.studio import STUDIO, Studio, make_sqlite, make_studio
from tests.backend.test_archive import assert_nothing_came

CHILD = """
import sys
from noslop_backend.archive import import_from
from noslop_backend.core.settings import Settings
from noslop_backend.services import ProjectStorage
settings = Settings(_env_file=None, studio_id=sys.argv[1], project_storage_dir=sys.argv[2], database_url=sys.argv[3])
settings = settings.model_copy(update={"lease_s": 0})
import_from(ProjectStorage.open(settings), sys.stdin.buffer)
"""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Studio, str, bytes]:
    """A studio with a project, its id, and an archive of it."""
    directory = tmp_path_factory.mktemp("origin")
    studio = make_studio(directory, f"sqlite:///{make_sqlite(directory / 'db.sqlite3')}")
    project = fill(studio.storage).project_id
    stream = io.BytesIO()
    export(studio.storage, project, stream)
    return studio, project, stream.getvalue()


def importing(studio: Studio) -> subprocess.Popen[bytes]:
    arguments = [STUDIO, str(studio.root), studio.url]
    return subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdin=subprocess.PIPE)


def feed(child: subprocess.Popen[bytes], content: bytes) -> None:
    """Give a child so much of an archive, and wait until it has read it and asks for more."""
    assert child.stdin is not None
    child.stdin.write(content)
    child.stdin.flush()
    waiting = array.array("i", [1])
    while waiting[0] and child.poll() is None:
        fcntl.ioctl(child.stdin, termios.FIONREAD, waiting)
        # Until the pipe is empty; nothing else wakes this up.
        select.select([], [], [], 0.01)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_killed_while_it_reads(studio: Studio, origin: tuple[Studio, str, bytes], part: float) -> None:
    source, project, archive = origin
    studio.storage.start()
    child = importing(studio)
    # All but the two blocks of zeros that end it: without the first nothing is complete.
    feed(child, archive[: int(len(archive) * part) - 2 * 512 * (part == 1.0)])
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert [each.id for each in studio.storage.list_projects().items] == []
    assert not (studio.root / project).exists()
    report = studio.storage.recover()
    assert (report.finished, report.failed) == ([], {})
    assert_nothing_came(studio)
    assert list((studio.root / hidden_dirs.IMPORTS).rglob("*")) == []
    import_from(studio.storage, io.BytesIO(archive))
    studio.check(project)
    assert facts(studio, project) == facts(source, project)


class Stalling(Journal):
    """A journal during whose steps something else is done."""

    meanwhile: Callable[[], object]


def opened(kind: type[Journal], settings: Settings, meanwhile: Callable[[], object] | None = None) -> ProjectStorage:
    """Open a service with another journal."""
    context = StorageContext.open(settings)
    journal = kind(context, RECOVER)
    if isinstance(journal, Stalling) and meanwhile is not None:
        journal.meanwhile = meanwhile
    return ProjectStorage(context, journal)


class Dies(Journal):
    """A journal whose process ends before the last transaction."""

    def finish(self, handle: IntentHandle[Any], apply: Apply) -> Result:
        raise KeyboardInterrupt


def test_dead_between_the_rename_and_the_last_transaction(studio: Studio, origin: tuple[Studio, str, bytes]) -> None:
    source, project, archive = origin
    dying = opened(Dies, studio.settings(lease_s=0))
    with pytest.raises(KeyboardInterrupt):
        import_from(dying, io.BytesIO(archive))
    dying.close()
    assert (studio.root / project).is_dir()
    assert studio.storage.list_projects().items == []
    report = studio.storage.recover()
    assert (len(report.finished), report.released, report.failed) == (1, [], {})
    studio.check(project)
    assert facts(studio, project) == facts(source, project)
    assert list((studio.root / hidden_dirs.IMPORTS).iterdir()) == []


class Overtaken(Stalling):
    """A journal that stalls just before it publishes, for longer than its lease."""

    def record_plan(self, handle: IntentHandle[P], plan: P, need_bytes: int) -> None:
        super().record_plan(handle, plan, need_bytes)
        self.meanwhile()


def test_a_stalled_owner_publishes_nothing(studio: Studio, origin: tuple[Studio, str, bytes]) -> None:
    _, project, archive = origin
    studio.storage.start()
    seen: list[str] = []

    def meanwhile() -> None:
        seen.extend(studio.storage.recover().released)

    stalled = opened(Overtaken, studio.settings(lease_s=0), meanwhile)
    with pytest.raises(LeaseLostError):
        import_from(stalled, io.BytesIO(archive))
    stalled.close()
    assert len(seen) == 1
    assert not (studio.root / project).exists()
    assert_nothing_came(studio)


class Late(Stalling):
    """A journal that stalls between the rename and the last transaction."""

    def finish(self, handle: IntentHandle[Any], apply: Apply) -> Result:
        self.meanwhile()
        return super().finish(handle, apply)


def test_a_late_owner_gives_the_answer_of_whoever_finished(studio: Studio, origin: tuple[Studio, str, bytes]) -> None:
    _, project, archive = origin
    studio.storage.start()
    late = opened(Late, studio.settings(lease_s=0), studio.storage.recover)
    imported = import_from(late, io.BytesIO(archive))
    late.close()
    assert (imported.project.id, imported.project.state) == (project, ProjectState.PRESENT)
    studio.check(project)


def test_nobody_recovers_what_is_alive(studio: Studio, origin: tuple[Studio, str, bytes]) -> None:
    _, project, archive = origin
    studio.storage.start()
    alive = opened(Overtaken, studio.settings(), studio.storage.recover)
    assert import_from(alive, io.BytesIO(archive)).project.id == project
    alive.close()
    studio.check(project)


def test_killed_at_a_sample_of_system_calls(place: Path) -> None:
    points, done = run_all(place, None, every=23)
    assert points > 100
    assert done > 4
