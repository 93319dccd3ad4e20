# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a share from the old server with rsync, over the connection of ``tls_relay``."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

from ansible_collections.noslop.studio.plugins.module_utils.storage_move.record import MoveError
from ansible_collections.noslop.studio.plugins.module_utils.storage_move.source_server import ENVIRONMENT

#: Owner, mode, times, links, hard links, ACLs, extended attributes, holes. A file that was begun is continued. Times
#: are compared in nanoseconds: by itself rsync takes two within one second as equal (``--modify-window``).
OPTIONS = [
    *("--archive", "--hard-links", "--acls", "--xattrs", "--numeric-ids", "--sparse", "--one-file-system"),
    "--modify-window=-1",
    *("--delete", "--partial", "--info=progress2", "--no-human-readable", "--outbuf=L"),
]
#: Files of the source went away while they were copied (rsync(1), exit values): between the list and the copy, or
#: between a file's status and its ACL, which counts as an error. While the source is served, they may.
PARTIAL, VANISHED = 23, 24
_PROGRESS = re.compile(r"^\s*(\d+)\s+\d+%")


def run(
    rsync: str, shell: Sequence[str], source: str, target: str, report: Callable[[int], None], *, final: bool
) -> None:
    """Copy a module of the old server into a directory, which becomes equal to it.

    Args:
        rsync: the program.
        shell: the program that connects with the old server.
        source: the name of the module.
        target: the directory, root's.
        report: gets the number of bytes that were copied so far.
        final: whether no file changes any more, so that each must be copied.

    Raises:
        MoveError: it failed; what was copied stays.
    """
    command = [rsync, *OPTIONS, "--rsh", " ".join(shell), f"source::{source}/", f"{target}/"]
    with tempfile.TemporaryFile() as errors:
        program = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=ENVIRONMENT, cwd="/"
        )
        try:
            for line in program.stdout or ():
                for part in line.decode("ascii", "replace").split("\r"):
                    if match := _PROGRESS.match(part):
                        report(int(match[1]))
            code = program.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                program.terminate()
            program.wait()
            raise
        errors.seek(0)
        text = errors.read().decode("utf-8", "replace")
    if code and (final or code not in (PARTIAL, VANISHED)):
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        raise MoveError(
            f"rsync of {source} ended with {code}: {' '.join(lines[-4:]) or 'it says nothing'} What was copied stays, "
            "and the next run continues."
        )


def make_shell(program: str, settings: str) -> list[str]:
    """Return the program that rsync runs in place of ssh."""
    return [sys.executable, "-I", program, settings]


def run_file(rsync: str, shell: Sequence[str], source: str, directory: str) -> None:
    """Copy one file of a module of the old server into a directory.

    Raises:
        MoveError: it failed.
    """
    command = [rsync, "--times", "--rsh", " ".join(shell), f"source::{source}", f"{directory}/"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=ENVIRONMENT, cwd="/", check=False)
    if done.returncode:
        text = done.stderr.decode("utf-8", "replace").strip()
        raise MoveError(f"rsync of {source} ended with {done.returncode}: {text} Run this again.")
