# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Detect that the database is older than the share: an older copy of it was restored.

Owns: the generation, a number that the database and the share both hold and that grows with each start of the service
and each run of recovery, so every few minutes; a copy of the database, by whatever program, has an older one soon. The
database's is written first, so the share's is larger only where a database was restored from before. It is for people:
writes read the share in any case (`journal/catch_up.py`).
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from contextlib import suppress

from noslop_backend.core.database import clock
from noslop_backend.core.enums import ProjectState
from noslop_backend.core.errors import BackendError, ShareUnavailableError, UnsafePathError
from noslop_backend.repositories import JobRepository, ProjectRepository
from noslop_backend.repositories.jobs import BEHIND, GENERATION
from noslop_backend.services import ProjectStorage
from noslop_backend.share import Share, hidden_dirs
from noslop_backend.share.os_errors import translate_os_errors

_LOG = logging.getLogger(__name__)
_FILE = "generation.json"
_LIMIT_BYTES = 4096
#: A file that claims more was written by something else.
_NUMBER_LIMIT = 2**53
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PART_AGE_NS = 86_400 * 10**9
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

RESTORED = (
    "The database is older than the share: an older copy of it was restored. Nothing on the share is lost, and no "
    "number is given again; files and projects that were saved since are not in lists yet. Run 'noslop-backend "
    "reconcile --adopt-projects --apply' twice, ten minutes apart, until it reports nothing new."
)
EMPTY = (
    "The database has no project, and the share has some: it is a new one, or the copy that was restored is from "
    "before them. Run 'noslop-backend rebuild', or stop the service and restore a backup: 'noslop-backend backup list'."
)


def advance(core: ProjectStorage) -> str:
    """Count the generation up in the database and then on the share.

    Returns:
        What is to be done because the database is older than the share; empty when it is not.

    Raises:
        ShareUnavailableError: the share is not there.
    """
    with core.share() as share:
        on_share, has_projects = _read(share), bool(share.projects())
    with core.database.write() as session:
        jobs, now = JobRepository(session), clock(session)
        state = dict(jobs.get(GENERATION).state)
        number = int(state.get("number", 0))
        if has_projects and not number and not ProjectRepository(session).ids(*ProjectState):
            state[BEHIND] = EMPTY
        elif on_share > number:
            state[BEHIND] = RESTORED
            # What this copy had not seen yet gets numbers anew.
            jobs.begin_stream()
        state["number"] = number = max(number, on_share) + 1
        jobs.remember(GENERATION, now, state)
    try:
        with core.share() as share:
            _write(share, number)
    except ShareUnavailableError:
        raise
    except BackendError as error:
        # A full disk, or another kind of file in its place: the warning is missing then, and nothing is lost.
        _LOG.warning("The generation was not written on the share. %s", error.message)
    return str(state.get(BEHIND, ""))


def resolve(core: ProjectStorage) -> None:
    """Record that the database has everything that the share has."""
    with core.database.write() as session:
        jobs = JobRepository(session)
        state = dict(jobs.get(GENERATION).state)
        if state.pop(BEHIND, ""):
            jobs.remember(GENERATION, clock(session), state)


def _read(share: Share) -> int:
    """Return the share's number; 0 when there is none, or none that can be read."""
    try:
        with hidden_dirs.opened(share, hidden_dirs.GENERATION) as place:
            if place is None:
                return 0
            with (
                translate_os_errors("reading the generation on the share"),
                os.fdopen(os.open(_FILE, _READ, dir_fd=place.descriptor), "rb") as stream,
            ):
                number = int(json.loads(stream.read(_LIMIT_BYTES))["generation"])
    except (FileNotFoundError, UnsafePathError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 0
    return number if 0 <= number < _NUMBER_LIMIT else 0


def _write(share: Share, number: int) -> None:
    """Put a number on the share, if it has no higher one by now; whole or not at all."""
    if _read(share) >= number:
        return
    with hidden_dirs.opened(share, hidden_dirs.GENERATION, make=True) as place:
        assert place is not None
        directory = place.descriptor
        part = f"{secrets.token_hex(8)}.part"
        with translate_os_errors("writing the generation on the share"):
            descriptor = os.open(part, _CREATE, 0o644, dir_fd=directory)
            try:
                try:
                    os.write(descriptor, json.dumps({"generation": number}).encode() + b"\n")
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                os.replace(part, _FILE, src_dir_fd=directory, dst_dir_fd=directory)
            except FileNotFoundError:
                # The answer to a rename that worked may have been lost on the way (NFS).
                if _read(share) < number:
                    raise
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(part, dir_fd=directory)
            _remove_old_parts(directory)
            os.fsync(directory)


def _remove_old_parts(directory: int) -> None:
    """Remove what processes that died have left: parts that are older than the generation beside them by a day."""
    now_ns = os.stat(_FILE, dir_fd=directory, follow_symlinks=False).st_mtime_ns
    for name in os.listdir(directory):
        if name.endswith(".part"):
            with suppress(FileNotFoundError):
                if now_ns - os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns > _PART_AGE_NS:
                    os.unlink(name, dir_fd=directory)
