# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the directories of a cache, and find out which content a file of a share must have. Pure.

Programs read ``view`` in place of the share: the same names, each a link to the share, or to a copy in ``files``.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes

VIEW = "view"
#: The directory of Ollama's that has the names of the models; its files are copied into the view as they are.
MANIFESTS = "manifests"
_BLOB = re.compile(r"blobs/sha256-([0-9a-f]{64})")


@dataclass(frozen=True)
class CachedShare:
    """A share with models, and its part of a cache.

    ``directory`` is the part, which ``account`` owns as it owns the share. ``digests`` has the SHA-256 of files by
    their path below the share; blobs of Ollama's have it in their name.
    """

    name: str
    path: str
    directory: str
    studio_id: str
    account: worker_processes.Account | None = None
    digests: Mapping[str, str] = field(default_factory=dict, hash=False)
    view_name: str = VIEW

    @property
    def view(self) -> str:
        """Return the directory that programs read."""
        return os.path.join(self.directory, self.view_name)

    @property
    def files(self) -> str:
        """Return the directory of the copies, each with its SHA-256 as its name."""
        return os.path.join(self.directory, "files")

    @property
    def parts(self) -> str:
        """Return the directory of copies that are not whole."""
        return os.path.join(self.directory, "parts")

    @property
    def lock(self) -> str:
        """Return the file that is locked while view or copies change."""
        return os.path.join(self.directory, "lock")

    def find_digest(self, path: str) -> str:
        """Return the SHA-256 that a file of the share must have; empty where none is known: it is not copied."""
        match = _BLOB.fullmatch(path)
        return match[1] if match else self.digests.get(path, "")

    def is_copy(self, target: str) -> bool:
        """Return whether the target of a link in the view is a copy."""
        return os.path.dirname(target) == self.files

    def locate_copy(self, digest: str) -> str:
        """Return the path of the copy of a content."""
        return os.path.join(self.files, digest)


def is_manifest(path: str) -> bool:
    """Return whether a path below a share is that of a manifest of Ollama's."""
    return path.startswith(MANIFESTS + posixpath.sep)


def list_parents(path: str) -> Iterator[str]:
    """Yield the directories above a path below a share, the nearest first."""
    while path := posixpath.dirname(path):
        yield path
