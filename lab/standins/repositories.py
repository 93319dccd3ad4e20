# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write git repositories whose commits are the same on every host, readable over plain HTTP."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

TIMESTAMP = 1_700_000_000  # one fixed time for every archive member and commit


class BuildError(Exception):
    """A failure of the build, as one sentence for the user."""


@dataclass(frozen=True)
class Commit:
    """One commit: `files` maps a path to its content, and is the whole tree."""

    subject: str
    files: dict[str, str]
    tag: str = ""


def git(repository: Path, *words: str, tree: Path | None = None) -> str:
    """Run git on a bare repository without any user's configuration, and return its output."""
    stamp = f"{TIMESTAMP} +0000"
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_DIR": str(repository),
        "GIT_AUTHOR_NAME": "NoSlop stand-in",
        "GIT_AUTHOR_EMAIL": "standin@noslop.invalid",
        "GIT_COMMITTER_NAME": "NoSlop stand-in",
        "GIT_COMMITTER_EMAIL": "standin@noslop.invalid",
        "GIT_AUTHOR_DATE": stamp,
        "GIT_COMMITTER_DATE": stamp,
        **({"GIT_WORK_TREE": str(tree), "GIT_INDEX_FILE": str(repository / "build-index")} if tree else {}),
    }
    try:
        done = subprocess.run(["git", *words], env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BuildError("git is needed to create repositories and is not installed: install git") from error
    if done.returncode != 0:
        raise BuildError(f"git {' '.join(words)} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def write_repository(repository: Path, commits: list[Commit], default: str = "HEAD") -> list[str]:
    """Write a bare repository with these commits, one after the other, and return their ids.

    `master` is at the last one, or at the tag `default`.
    """
    tree = repository.with_name(repository.name + ".tree")
    repository.parent.mkdir(parents=True, exist_ok=True)
    git(repository, "init", "--quiet", "--bare", "--object-format=sha1", "--initial-branch=master", str(repository))
    ids = []
    for commit in commits:
        for name, content in commit.files.items():
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, "utf-8")
        git(repository, "-c", "core.fileMode=false", "add", "--force", "--all", ".", tree=tree)
        git(repository, "commit", "--quiet", "--message", commit.subject, tree=tree)
        if commit.tag:
            git(repository, "tag", commit.tag)
        ids.append(git(repository, "rev-parse", "HEAD"))
        shutil.rmtree(tree)
    git(repository, "update-ref", "refs/heads/master", default)
    git(repository, "repack", "--quiet", "-a", "-d")
    git(repository, "update-server-info")
    (repository / "build-index").unlink()
    shutil.rmtree(repository / "hooks", ignore_errors=True)
    return ids
