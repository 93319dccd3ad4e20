# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build program trees as an account of their own, and change their owner to root before anything runs from them.

A build runs third-party code: the set-up of a source package, git on a foreign repository. It runs as the build
account, which has no shares and no services, in a directory that no other account can enter. Afterwards every process
of that account is killed, the directory is given to root, and only then is the tree verified and its owner changed.
From that moment on only root can reach it, so it is walked by its paths.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import signal
import stat
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths, worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.install import release_dir

#: Below the directory of all programs: /opt/noslop/.build.
BUILD = ".build"
ERROR_LINES = 15
_LOCK = ".lock"


class BuildError(Exception):
    """A tree cannot be built or may not be used. The message is for the user who has to repair it."""


@dataclass(frozen=True)
class Build:
    """A directory of the build account, and one beside it that only root can enter."""

    directory: str
    root_directory: str
    account: worker_processes.Account

    def run(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        stdin: IO[bytes] | None = None,
        accept_failure: bool = False,
    ) -> tuple[int, str]:
        """Run a command as the build account, in its directory, and return exit code and output.

        Raises:
            BuildError: it cannot be run, or failed and ``accept_failure`` is not set.
        """
        credentials: dict[str, Any] = {}
        prefix: list[str] = []
        if not self._is_this_account():
            credentials = {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}
            # A program with the set-user-ID bit gains no privilege then (no_new_privs in prctl(2)).
            prefix = ["setpriv", "--no-new-privs", "--"]
        # Into a file: a background process would keep a pipe open, and subprocess.run would wait for it.
        with tempfile.TemporaryFile(dir=self.root_directory) as output:
            try:
                done = subprocess.run(
                    [*prefix, *command],
                    stdin=stdin or subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                    cwd=self.directory,
                    umask=0o022,
                    env={
                        **os.environ,
                        "LC_ALL": "C.UTF-8",
                        "HOME": self.directory,
                        "TMPDIR": self.directory,
                        **(environment or {}),
                    },
                    **credentials,
                )
            except OSError as error:
                raise BuildError(f"{command[0]} cannot be run: {error.strerror}") from error
            output.seek(0)
            text = output.read().decode(errors="replace")
        if done.returncode != 0 and not accept_failure:
            end = "\n".join(text.strip().splitlines()[-ERROR_LINES:])
            raise BuildError(f"{' '.join(command)} failed with exit code {done.returncode}:\n{end}")
        return done.returncode, text

    def write(self, name: str, data: bytes) -> str:
        """Write a file to the build account's directory, and return its path."""
        descriptor = safe_paths.open_directory(self.directory)
        try:
            safe_paths.write_file(descriptor, name, data, self.account.uid, self.account.gid, 0o644)
        finally:
            os.close(descriptor)
        return os.path.join(self.directory, name)

    def transfer_to_root(self, name: str, may_lead_to: Collection[str] = ()) -> str:
        """Verify the tree ``name``, change its owner to root, and return its path in root's directory.

        Args:
            name: the tree, in the build account's directory.
            may_lead_to: what links may lead to outside the tree.

        Raises:
            BuildError: it contains an entry that no program needs: a device, a socket, an inode of another account, or
                a link out of it.
        """
        kill_processes(self.account)
        safe_paths.make_directory(self.directory, os.geteuid(), os.getegid(), 0o700)
        tree = os.path.join(self.directory, name)
        paths = [tree]
        for directory, directories, files in os.walk(tree, onerror=_raise):
            paths += [os.path.join(directory, entry) for entry in (*directories, *files)]
        for path in paths:
            _verify(path, tree, self.account, may_lead_to)
        for path in paths:
            _set_root_owner(path)
        destination = os.path.join(self.root_directory, name)
        os.rename(tree, destination)
        safe_paths.make_directory(self.directory, self.account.uid, self.account.gid, 0o700)
        return destination

    def _is_this_account(self) -> bool:
        return os.geteuid() != 0 or self.account.uid == 0


@contextlib.contextmanager
def building(programs: str, account: worker_processes.Account) -> Iterator[Build]:
    """Make a build directory below ``programs``, and remove it at the end. One build runs at a time.

    Remains of a build that was killed are removed first.
    """
    base = os.path.join(programs, BUILD)
    safe_paths.make_directory(base, os.geteuid(), os.getegid(), 0o711)
    lock = os.open(os.path.join(base, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kill_processes(account)
        _remove_all(base)
        roots = tempfile.mkdtemp(dir=base)
        scratch = tempfile.mkdtemp(dir=base)
        safe_paths.make_directory(scratch, account.uid, account.gid, 0o700)
        try:
            yield Build(scratch, roots, account)
        finally:
            kill_processes(account)
            _remove_all(base)
    finally:
        os.close(lock)


def find_account(name: str) -> worker_processes.Account | None:
    """Return the account ``name`` with its own group only, or ``None`` where it does not exist."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return worker_processes.Account(entry.pw_uid, entry.pw_gid, (entry.pw_gid,))


def install_tree(tree: str, path: str) -> None:
    """Move a tree of root's to ``path``. A tree that had this path is removed afterwards."""
    parent = os.path.dirname(path)
    safe_paths.make_directory(parent, os.geteuid(), os.getegid(), 0o755)
    release_dir.sync_tree(tree)
    old = os.path.join(parent, f".old-{os.path.basename(path)}")
    safe_paths.remove_tree(old)
    if os.path.lexists(path):
        os.rename(path, old)
    os.rename(tree, path)
    release_dir.sync(parent)
    safe_paths.remove_tree(old)


def kill_processes(account: worker_processes.Account) -> None:
    """Kill every process of the build account, so that none can write to a tree that was verified.

    Does nothing where the account is root, or that of this process.
    """
    if account.uid in (0, os.geteuid()):
        return
    while True:
        running = _processes_of(account.uid)
        if not running:
            return
        # Stopped first: a process could fork faster than it is killed.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)


def _processes_of(uid: int) -> list[int]:
    pids = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/status", encoding="utf-8", errors="replace") as stream:
                fields = dict(line.split(":", 1) for line in stream if ":" in line)
        except OSError:
            continue  # ended meanwhile
        if str(uid) in fields.get("Uid", "").split() and fields.get("State", "").split()[:1] not in (["Z"], ["X"]):
            pids.append(int(name))
    return pids


def _raise(error: OSError) -> None:
    raise error


def _verify(path: str, tree: str, account: worker_processes.Account, may_lead_to: Collection[str]) -> None:
    status = os.lstat(path)
    name = os.path.relpath(path, os.path.dirname(tree))
    if status.st_uid != account.uid:  # for example a hard link to a file of root's
        raise BuildError(f"{name} belongs to another account (uid {status.st_uid}). Nothing was installed.")
    if stat.S_ISLNK(status.st_mode):
        target = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        if target != tree and not target.startswith(tree + "/") and target not in may_lead_to:
            raise BuildError(f"{name} is a link that leads out of what was built, to {target}. Nothing was installed.")
    elif not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
        raise BuildError(f"{name} is neither a file nor a directory nor a link. Nothing was installed.")


def _set_root_owner(path: str) -> None:
    """Change the owner to root, and remove what gives others access or privileges: mode bits, extended attributes."""
    status = os.lstat(path)
    os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        return
    for name in os.listxattr(path):
        os.removexattr(path, name)
    execute_bits = 0o111 if stat.S_ISDIR(status.st_mode) or status.st_mode & 0o111 else 0
    os.chmod(path, 0o644 | execute_bits)


def _remove_all(base: str) -> None:
    for name in os.listdir(base):
        if name != _LOCK:
            safe_paths.remove_tree(os.path.join(base, name))
