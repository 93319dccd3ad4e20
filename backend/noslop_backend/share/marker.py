# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the marker that proves which share of which studio a directory is."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from noslop_backend.core.errors import ShareUnavailableError
from noslop_backend.share import layout

#: Larger than any marker. More of a file of that name is not read.
_MARKER_LIMIT_BYTES = 4096
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Marker:
    """What the marker of a share says."""

    studio_id: str
    share: str
    share_id: str


def read_marker(directory: int, root: Path, studio_id: str, share: str) -> Marker:
    """Read the marker in an open directory and prove that it marks this share of this studio.

    Raises:
        ShareUnavailableError: it does not, or there is none.
    """
    try:
        descriptor = os.open(layout.MARKER, _READ, dir_fd=directory)
        with os.fdopen(descriptor, "rb") as stream:
            content = json.loads(stream.read(_MARKER_LIMIT_BYTES))
        marker = Marker(*(str(content[name]) for name in ("studio_id", "share", "share_id")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        seen = error.strerror if isinstance(error, OSError) else "its text is not that of a marker"
        raise ShareUnavailableError(
            f"{root} has no marker {layout.MARKER} that can be read ({seen}): it may not be mounted. Nothing was "
            "changed. Mount the share; if it is mounted, deploy the studio's storage again."
        ) from error
    if (marker.studio_id, marker.share) != (studio_id, share):
        raise ShareUnavailableError(
            f"{root} is the share {marker.share!r} of the studio {marker.studio_id!r}; {share!r} of {studio_id!r} is "
            "expected. Nothing was changed. Set the paths and NOSLOP_STUDIO_ID right."
        )
    return marker


def open_root(root: Path) -> int:
    """Open a share's directory.

    Raises:
        ShareUnavailableError: it cannot be opened.
    """
    try:
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ShareUnavailableError(
            f"The directory {root} cannot be opened: {error.strerror}. Nothing was changed. "
            "See that it exists and is mounted, then try again."
        ) from error
