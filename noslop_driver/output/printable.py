# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove control characters from text of hosts, before it is printed or written into a log."""

from __future__ import annotations

import re

# ECMA-48: control sequences, then control strings up to their end, each in its 7-bit and its 8-bit form.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
# C0 except tab and newline, DEL, C1; characters that reorder or break lines (Unicode's bidirectional controls and
# separators); surrogates, which cannot be written.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return text from a host without control characters and escape sequences. Newlines and tabs stay."""
    return _CONTROL.sub("", _SEQUENCE.sub("", text).replace("\r\n", "\n").replace("\r", "\n"))
