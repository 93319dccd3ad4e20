# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a token from a file on the controller, and refuse one that other accounts may read."""

from __future__ import annotations

import os
import stat


def read(path: str) -> str:
    """Return the token in a file.

    Raises:
        ValueError: it cannot be read, others may read it, or it is empty. The message says what to do.
    """
    full = os.path.expanduser(path)
    try:
        with open(full, encoding="utf-8") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            token = stream.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"The token in {full} cannot be read: {error}. Correct the path.") from error
    if mode & 0o077:
        raise ValueError(f"{full} has a token, and others may read it (mode {mode:04o}). Run: chmod 600 {full}")
    if not token:
        raise ValueError(f"{full} is empty. Put the token into it.")
    return token
