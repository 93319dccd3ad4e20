# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a small file of JSON whole or not at all."""

from __future__ import annotations

import json
import os
from typing import Any


def write_json(path: str, value: Any) -> None:
    """Write a value, and give the file its name when it is on the disk.

    Args:
        path: a file in a directory of this process's own account.
        value: what JSON can hold.
    """
    new = f"{path}.new"
    with open(new, "w", encoding="utf-8") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(new, path)
