# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold what the backend and its fork server send each other."""

from __future__ import annotations

from dataclasses import dataclass

#: A request is shorter.
PACKET_BYTES = 4096
#: What the fork server sends when it has started a child. The child's wait status follows, in decimal digits.
STARTED = b"started"


@dataclass(frozen=True)
class Job:
    """A file to read: its content type, what the child gets, and whether to decode all of it."""

    content_type: str
    memory_bytes: int
    cpu_s: int
    budget_s: float
    decode: bool
