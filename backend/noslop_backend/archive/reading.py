# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open files of a project for an archive, wherever they lie by then."""

from __future__ import annotations

from typing import BinaryIO

from noslop_backend.share import Share, layout


def open_file(share: Share, project_id: str, path: str, *, trashed: bool = False) -> BinaryIO:
    """Open a file by its visible path; in the trash, or out of it, if it was moved since its row was read.

    Raises:
        FileNotFoundError: it is in neither place.
    """
    try:
        return share.open(project_id, layout.trash(path) if trashed else path)
    except FileNotFoundError:
        return share.open(project_id, path if trashed else layout.trash(path))
