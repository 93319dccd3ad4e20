# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A local copy of a git repository that holds pinned revisions, to export them from."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable

#: Runs a command with this environment added; gives exit code, output and errors.
Command = Callable[[list[str], dict[str, str]], tuple[int, str, str]]

_SHA1 = re.compile(r"[0-9a-f]{40}")
_FETCHED = "refs/noslop/fetched"
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    # A repository on this host may belong to a person; it is only read, and git need not refuse it.
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
    "LC_ALL": "C.UTF-8",
}


class RepositoryError(Exception):
    """A revision cannot be had, in words for the person who has to mend it."""


def is_commit(revision: str) -> bool:
    """Whether a revision is a commit's full SHA-1, which can mean one thing only."""
    return _SHA1.fullmatch(revision) is not None


class Repository:
    """A bare repository at ``path``."""

    def __init__(self, path: str, run: Command) -> None:
        self.path = path
        self._command = run

    def fetch(self, repo: str, revision: str, commit: str = "") -> str:
        """Bring a revision into the local copy, unless it is there.

        Args:
            repo: address or path of the repository that has it.
            revision: a commit's full SHA-1, or a tag.
            commit: the commit that it must be; empty accepts what it is.

        Returns:
            The commit.

        Raises:
            RepositoryError: it cannot be had, is a branch, or is another commit.
        """
        if not os.path.isdir(os.path.join(self.path, "objects")):
            shutil.rmtree(self.path, ignore_errors=True)
            self._run(["git", "init", "--quiet", "--bare", self.path])
        found = self._resolve(revision)
        if not found:
            self._download(repo, revision)
            found = self._resolve(revision)
        if not found:
            raise RepositoryError(self._unknown(repo, revision))
        if commit and found != commit:
            raise RepositoryError(
                f"{repo}: {revision} is commit {found}, expected {commit}. Nothing was installed. If this is the one "
                "you want, set its commit; else find out who moved the tag."
            )
        return found

    def archive(self, commit: str, file: str) -> None:
        """Write the files of a commit into a tar archive. Raises RepositoryError."""
        self._run(["git", "--git-dir", self.path, "archive", "--format=tar", f"--output={file}", commit])

    def _download(self, repo: str, revision: str) -> None:
        # One revision without its history is a hundredth of everything; plain HTTP servers cannot give that.
        wanted = revision if is_commit(revision) else f"refs/tags/{revision}"
        code, _, _ = self._git("fetch", "--quiet", "--depth=1", "--no-tags", repo, f"{wanted}:{_FETCHED}")
        if code == 0:
            if not is_commit(revision):
                self._run(["git", "--git-dir", self.path, "update-ref", wanted, _FETCHED])
            return
        everything = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        code, out, err = self._git("fetch", "--quiet", "--force", repo, *everything)
        if code != 0:
            raise RepositoryError(
                f"{repo} cannot be fetched: {(err or out).strip()}. Check the address, or set noslop_artifact_mirror "
                "to a mirror of yours."
            )

    def _resolve(self, revision: str) -> str:
        """The commit of a revision in the local copy, or nothing."""
        name = revision if is_commit(revision) else f"refs/tags/{revision}"
        code, out, _ = self._git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        return out.strip() if code == 0 else ""

    def _unknown(self, repo: str, revision: str) -> str:
        if self._git("rev-parse", "--verify", "--quiet", f"refs/heads/{revision}")[0] == 0:
            return f"{revision} is a branch of {repo}, and means something else tomorrow. Set a tag or a commit."
        order = ["--sort=-creatordate", "--count=3", "--format=%(refname:short)"]
        _, out, _ = self._git("for-each-ref", *order, "refs/tags")
        return f"{repo} has no tag or commit {revision}. Its newest tags: {', '.join(out.split()) or 'none'}."

    def _git(self, *words: str) -> tuple[int, str, str]:
        return self._command(["git", "--git-dir", self.path, *words], _ENVIRONMENT)

    def _run(self, command: list[str]) -> None:
        code, out, err = self._command(command, _ENVIRONMENT)
        if code != 0:
            raise RepositoryError(f"{' '.join(command)} failed: {(err or out).strip()}")
