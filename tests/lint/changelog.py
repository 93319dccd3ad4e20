# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the changelog's fragments, and that a change of the collection or the driver brings one.

    python tests/lint/changelog.py [--base BRANCH]

The change is what differs from the commit where this branch left BRANCH (by default origin/main, else main), with what
is not committed yet. A clone without that history passes. What no user would notice has a fragment too, with the one
section `trivial`, which stays out of the changelog.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COLLECTION = "collections/ansible_collections/noslop/studio/"
CHANGELOGS = f"{COLLECTION}changelogs/"
#: What users run. Tests, documents and the changelog itself are not.
SOURCES = (
    *(f"{COLLECTION}{name}/" for name in ("meta", "playbooks", "plugins", "roles")),
    f"{COLLECTION}galaxy.yml",
    "noslop_driver/",
)
BASES = ("origin/main", "main")


def read_changes(root: Path, bases: tuple[str, ...] = BASES) -> list[str] | None:
    """Return the paths that differ from where this branch left the first of `bases`, or None without that history."""
    for base in bases:
        fork = _git(root, "merge-base", "HEAD", base)
        if fork.returncode == 0:
            changed = _git(root, "diff", "--name-only", "--no-renames", fork.stdout.strip())
            untracked = _git(root, "ls-files", "--others", "--exclude-standard")
            return sorted({*changed.stdout.splitlines(), *untracked.stdout.splitlines()})
    return None


def problems(changes: list[str]) -> list[str]:
    """Return what is missing: a fragment, where sources changed."""
    sources = [path for path in changes if path.startswith(SOURCES) and not path.endswith(".md")]
    if not sources or any(path.startswith(CHANGELOGS) and path.endswith((".yml", ".yaml")) for path in changes):
        return []
    shown = ", ".join(sources[:3]) + (f" and {len(sources) - 3} more" if len(sources) > 3 else "")
    return [
        f"{shown} changed, and no fragment says so. Add a file to {CHANGELOGS}fragments/ with what a user notices, "
        "under a section of changelogs/config.yaml such as bugfixes, or under `trivial` where they notice nothing."
    ]


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)


def main() -> int:
    """Print the problems. Return 1 when there are any."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--base", help="the branch that this one left (default: origin/main, else main)")
    base = parser.parse_args().base
    changes = read_changes(ROOT, (base,) if base else BASES)
    if changes is None:
        print("Fragments not compared with the change: this clone has no history of the branch that this one left.")
    listed = problems(changes or [])
    print(*listed, sep="\n", end="\n" if listed else "")
    program = Path(sys.executable).with_name("antsibull-changelog")
    done = subprocess.run([str(program), "lint"], cwd=ROOT / COLLECTION, check=False)
    return int(bool(listed) or done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
