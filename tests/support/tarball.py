# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the collection's tarball, install it elsewhere and run programs that find no other copy of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COLLECTION = ROOT / "collections/ansible_collections/noslop/studio"
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Installation:
    """A directory of collections with this one alone, and a home without settings."""

    directory: Path

    @property
    def collection(self) -> Path:
        """Return the directory of the collection."""
        return self.directory / "ansible_collections/noslop/studio"

    def run(
        self, program: str, *arguments: str, cwd: Path | None = None, home: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the virtual environment in `cwd`, by default the collection, and return what it printed."""
        home = home or self.directory / "home"
        home.mkdir(exist_ok=True)
        return _run(program, *arguments, cwd=cwd or self.collection, home=home, collections=self.directory)


def build(directory: Path) -> Path:
    """Build the tarball into a directory. Return its path."""
    source = directory / "source"
    shutil.copytree(COLLECTION, source, ignore=shutil.ignore_patterns("__pycache__"))
    command = ("ansible-galaxy", "collection", "build", "--output-path", str(directory))
    done = _run(*command, cwd=source, home=directory, collections=directory)
    assert done.returncode == 0, done.stdout
    (tarball,) = directory.glob("noslop-studio-*.tar.gz")
    return tarball


def install(tarball: Path, directory: Path) -> Installation:
    """Install a tarball into an empty directory, without asking any server."""
    installation = Installation(directory)
    command = ("ansible-galaxy", "collection", "install", str(tarball), "--offline", "-p", str(directory))
    done = installation.run(*command, cwd=directory)
    assert done.returncode == 0, done.stdout
    return installation


def _run(program: str, *arguments: str, cwd: Path, home: Path, collections: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that finds no other collections; pip's settings and cache stay those of the user."""
    user = Path.home()
    hidden = ("ANSIBLE_", "PYTHON", "VIRTUAL_ENV", "GALAXY_IMPORTER_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment |= {
        "HOME": str(home),
        "PATH": f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "XDG_CONFIG_HOME": os.environ.get("XDG_CONFIG_HOME", str(user / ".config")),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(user / ".cache")),
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false",
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_NOCOLOR": "true",
        "GALAXY_IMPORTER_CHECK_REQUIRED_TAGS": "true",
        # `make lint` runs it, with all rules, over the same files.
        "GALAXY_IMPORTER_RUN_ANSIBLE_LINT": "false",
    }
    return subprocess.run(
        [str(BIN / program), *arguments], cwd=cwd, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
