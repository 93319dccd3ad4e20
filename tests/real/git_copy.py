# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a Git repository so that it can be cloned over plain HTTP, even where some objects are missing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# With a date, so that a copy has the same commit each time, and a host that has it installs nothing again.
AUTHOR = {
    f"GIT_{part}_{field}": value
    for part in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "NoSlop test"), ("EMAIL", "test@noslop.invalid"), ("DATE", "2026-01-01T00:00:00Z"))
}


def git(*words: str | Path, stdin: str = "", directories: dict[str, Path] | None = None) -> str:
    """Run git without any configuration of the user. Return what it prints; fail the test when it fails."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, **AUTHOR, **(directories or {})}
    done = subprocess.run(
        ["git", *(str(word) for word in words)],
        input=stdin,
        env={**inherited, **{key: str(value) for key, value in settings.items()}},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"git {' '.join(map(str, words))} ended with {done.returncode}: {done.stderr}"
    return done.stdout.strip()


def copy_repository(source: Path, out: Path, revision: str = "HEAD") -> tuple[str, list[str]]:
    """Write a bare repository with one commit: the tree of `revision`, without the files whose content is missing.

    A store of snapshots may leave out large files (a tokenizer that no CPU render needs, for instance): a clone of it
    fails. Nothing is written to `source`. Return the commit and the paths that were left out.
    """
    work, tree = out.with_suffix(".work"), out.with_suffix(".tree")
    tree.mkdir(parents=True)
    git("init", "--quiet", "--bare", work)
    objects = Path(git("-C", source, "rev-parse", "--path-format=absolute", "--git-path", "objects"))
    (work / "objects" / "info" / "alternates").write_text(f"{objects}\n")
    directories: dict[str, Path] = {"GIT_DIR": work, "GIT_WORK_TREE": tree}
    git("read-tree", git("-C", source, "rev-parse", f"{revision}^{{tree}}"), directories=directories)
    files = [line.split("\t") for line in git("ls-files", "--stage", directories=directories).splitlines()]
    paths = {path: entry.split()[1] for entry, path in files}
    listing = git("cat-file", "--batch-check", stdin="\n".join(paths.values()) + "\n", directories=directories)
    missing = {line.split()[0] for line in listing.splitlines() if line.endswith(" missing")}
    left_out = sorted(path for path, blob in paths.items() if blob in missing)
    if left_out:
        git("update-index", "--force-remove", "--stdin", stdin="\n".join(left_out) + "\n", directories=directories)
    commit = git(
        "commit-tree",
        "-m",
        f"{revision} of {source.name}",
        git("write-tree", directories=directories),
        directories=directories,
    )
    git("update-ref", "refs/heads/master", commit, directories=directories)
    # Through the pack protocol: only what the commit needs, and no link to the source.
    git("clone", "--quiet", "--bare", "--no-local", "--single-branch", "--branch", "master", work, out)
    git("update-server-info", directories={"GIT_DIR": out})
    return commit, left_out
