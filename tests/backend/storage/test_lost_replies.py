# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A call that changes names is carried out, its answer is lost, and it is sent again: NFS, when a server restarts.

The second time a link finds its name there, an unlink or a rename finds nothing. Here each call of the service is such
a second one: an audit hook (PEP 578) is told of it before the system is, and does it first. Where a mount gives up
instead of sending again (`soft`), the link that was made fails with an error of its own: the hook raises it.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from noslop_backend.maintenance.backup import MAC, backup
from noslop_backend.schemas import ProjectCreate, ProjectUpdate
from noslop_backend.share import layout
from noslop_backend.share.layout import FileKind

from tests.backend.studio import Studio, png

_FIRST: dict[str, Callable[..., None]] = {
    "os.link": lambda source, target, one, two: os.link(
        source, target, src_dir_fd=one, dst_dir_fd=two, follow_symlinks=source.startswith("/proc/self/fd/")
    ),
    "os.remove": lambda path, directory: os.unlink(path, dir_fd=directory),
    "os.rename": lambda source, target, one, two: os.rename(source, target, src_dir_fd=one, dst_dir_fd=two),
    "os.mkdir": lambda path, mode, directory: os.mkdir(path, mode, dir_fd=directory),
    "os.rmdir": lambda path, directory: os.rmdir(path, dir_fd=directory),
}
_here = threading.local()


def _hook(event: str, words: tuple[Any, ...]) -> None:
    lost: Counter[str] | None = getattr(_here, "lost", None)
    # What lies on the share is named from an open directory; nothing else is.
    if lost is None or event not in _FIRST or words[-1] < 0:
        return
    # What is done here is told to the hook too.
    _here.lost = None
    try:
        _FIRST[event](*words)
    except OSError:
        # The call itself will say why.
        return
    finally:
        _here.lost = lost
    lost[event] += 1
    if event == "os.link" and _here.link_fails is not None:
        raise OSError(_here.link_fails, os.strerror(_here.link_fails))


sys.addaudithook(_hook)


@contextmanager
def replies_lost(link_fails: int | None = None) -> Iterator[Counter[str]]:
    """Let every change of a name that this thread makes be a repetition; counts them.

    With `link_fails` a link that was made fails with this number (errno(3)) instead of being sent again.
    """
    _here.lost, _here.link_fails = Counter(), link_fails
    try:
        yield _here.lost
    finally:
        _here.lost = None


@pytest.mark.parametrize("link_fails", [None, errno.EIO, errno.ETIMEDOUT])
def test_a_project_lives_its_whole_life(studio: Studio, link_fails: int | None) -> None:
    storage = studio.storage
    with replies_lost(link_fails) as lost:
        project = storage.create_project_structure(ProjectCreate(name="A film"), key="p").id
        image = storage.save_generated_media(project, "m", png(1), key="m")
        storage.save_workflow(project, "w", {"n": 1}, key="w")
        storage.save_intermediate(project, FileKind.MASK, "i", b"mask", key="i")
        storage.save_metadata(project, image.id, {"rating": 5}, key="s")
        ticket = storage.reserve_adoption(project, None, "t", 1000)
    with open(ticket.staging_path, "wb") as stream:
        stream.write(png(2))
    with replies_lost(link_fails) as more:
        adopted = storage.adopt(project, ticket.ticket_id)
        storage.promote_to_final(project, image.id, name="f")
        storage.update_project_metadata(project, ProjectUpdate(name="Another name"))
        studio.check(project)
        storage.trash(project, [adopted.id])
        studio.check(project)
        storage.restore(project, [adopted.id])
        storage.trash(project, [adopted.id])
        storage.purge(project, [adopted.id])
        assert storage.cleanup_intermediate(project).files_count == 1
        studio.check(project)
        storage.trash_project(project)
        storage.purge_project(project)
    assert not (studio.root / project).exists()
    assert set(lost + more) == set(_FIRST)


def test_a_copy_of_the_database_is_made(studio: Studio) -> None:
    with replies_lost() as lost:
        made = backup(studio.storage)
    assert lost["os.link"] > 0
    assert sorted(path.name for path in made.path.parent.iterdir()) == [made.name, made.name + MAC]


def test_what_is_repeated_is_the_same(studio: Studio, project: str) -> None:
    with replies_lost():
        first = studio.storage.save_generated_media(project, "m", png(1), key="m")
    assert studio.storage.save_generated_media(project, "m", png(1), key="m") == first
    assert list((studio.root / project / layout.STAGING).iterdir()) == []
    studio.check(project)
