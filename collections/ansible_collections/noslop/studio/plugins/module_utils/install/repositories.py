# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch pinned revisions of a git repository as the build account, and export them.

The copy lies in the build account's directory, and is removed with it. Git reads a repository of another account only
where its configuration names it (``safe.directory`` in git-config(1)); only a repository on this host is named.
"""

from __future__ import annotations

import os
import re

from ansible_collections.noslop.studio.plugins.module_utils.install import builds

_SHA1 = re.compile(r"[0-9a-f]{40}")
_FETCHED = "refs/noslop/fetched"
_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0"}


class RepositoryError(Exception):
    """A revision cannot be fetched. The message is for the user who has to repair it."""


def is_commit(revision: str) -> bool:
    """Return whether a revision is a commit's full SHA-1, which never changes its meaning."""
    return _SHA1.fullmatch(revision) is not None


class Repository:
    """A bare repository in a build."""

    def __init__(self, build: builds.Build) -> None:
        self.build = build
        self.path = os.path.join(build.directory, "mirror.git")

    def fetch(self, repo: str, revision: str, commit: str = "") -> str:
        """Fetch a revision, and return its commit.

        Args:
            repo: address or path of the repository.
            revision: a commit's full SHA-1, or a tag.
            commit: the commit that it must be; empty accepts any.

        Returns:
            The commit.

        Raises:
            RepositoryError: it cannot be fetched, is a branch, or is another commit.
        """
        local_path = repo.removeprefix("file://")
        if local_path.startswith("/"):
            real = os.path.realpath(local_path)
            for path in dict.fromkeys((local_path, real, os.path.join(local_path, ".git"), os.path.join(real, ".git"))):
                self._run(["git", "config", "--global", "--add", "safe.directory", path])
        self._run(["git", "init", "--quiet", "--bare", self.path])
        self._download(repo, revision)
        resolved = self._resolve(revision)
        if not resolved:
            raise RepositoryError(self._explain_missing(repo, revision))
        if commit and resolved != commit:
            raise RepositoryError(
                f"{repo}: {revision} is commit {resolved}, expected {commit}. Nothing was installed. If this is the "
                "one you want, set its commit; else find out who moved the tag."
            )
        return resolved

    def export(self, commit: str, directory: str) -> None:
        """Write the files of a commit into a new directory. Raises RepositoryError."""
        archive = os.path.join(self.build.directory, "export.tar")
        self._run(["git", "--git-dir", self.path, "archive", "--format=tar", f"--output={archive}", commit])
        self._run(["mkdir", directory])
        self._run(["tar", "--extract", "--file", archive, "--directory", directory, "--no-same-owner"])

    def _download(self, repo: str, revision: str) -> None:
        # One revision without its history is a hundredth of the whole; plain HTTP servers cannot serve that.
        wanted = revision if is_commit(revision) else f"refs/tags/{revision}"
        code, __ = self._git("fetch", "--quiet", "--depth=1", "--no-tags", repo, f"{wanted}:{_FETCHED}")
        if code == 0:
            if not is_commit(revision):
                self._run(["git", "--git-dir", self.path, "update-ref", wanted, _FETCHED])
            return
        everything = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        code, output = self._git("fetch", "--quiet", "--force", repo, *everything)
        if code != 0:
            raise RepositoryError(
                f"{repo} cannot be fetched: {output.strip()}. Check the address, or set noslop_artifact_mirror "
                "to a mirror of yours."
            )

    def _resolve(self, revision: str) -> str:
        """Return the commit of a revision in the local copy, or an empty string."""
        name = revision if is_commit(revision) else f"refs/tags/{revision}"
        code, output = self._git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        return output.strip() if code == 0 else ""

    def _explain_missing(self, repo: str, revision: str) -> str:
        if self._git("rev-parse", "--verify", "--quiet", f"refs/heads/{revision}")[0] == 0:
            return f"{revision} is a branch of {repo}, and means something else tomorrow. Set a tag or a commit."
        order = ["--sort=-creatordate", "--count=3", "--format=%(refname:short)"]
        __, output = self._git("for-each-ref", *order, "refs/tags")
        return f"{repo} has no tag or commit {revision}. Its newest tags: {', '.join(output.split()) or 'none'}."

    def _git(self, *words: str) -> tuple[int, str]:
        return self.build.run(["git", "--git-dir", self.path, *words], _ENVIRONMENT, accept_failure=True)

    def _run(self, command: list[str]) -> None:
        try:
            self.build.run(command, _ENVIRONMENT)
        except builds.BuildError as error:
            raise RepositoryError(str(error)) from error
