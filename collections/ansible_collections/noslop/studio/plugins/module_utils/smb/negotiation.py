# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask an SMB server which dialect it speaks, with one request of SMB2 (MS-SMB2, sections 2.2.3 and 3.3.5.4).

No password and no program is needed, so verification can prove that an old dialect is refused on any host.
"""

from __future__ import annotations

import os
import socket
import struct

#: Dialects of SMB2 and SMB3 by their numbers.
DIALECTS = {0x0202: "2.0.2", 0x0210: "2.1", 0x0300: "3.0", 0x0302: "3.0.2", 0x0311: "3.1.1"}
OLD = (0x0202, 0x0210)
NEW = (0x0300, 0x0302)
_HEADER = struct.Struct("<4sHHIHHIIQIIQ16s")
_ANSWER = struct.Struct("<HHH")
_SMB1_HEADER = b"\xffSMB\x72" + b"\0" * 4 + b"\x18\x01\x28" + b"\0" * 20
_SMB1_DIALECT = b"\x02NT LM 0.12\0"
_MOST_BYTES = 64 * 1024


def negotiate(address: str, port: int, dialects: tuple[int, ...], timeout_s: float) -> str:
    """Return the dialect that the server chooses of these, empty when it refuses all of them.

    Raises:
        OSError: nothing answers there.
    """
    body = struct.pack("<HHHHI16sQ", 36, len(dialects), 1, 0, 0, os.urandom(16), 0)
    body += struct.pack(f"<{len(dialects)}H", *dialects)
    header = _HEADER.pack(b"\xfeSMB", 64, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, b"")
    answer = _ask(address, port, header + body, timeout_s)
    if len(answer) < _HEADER.size + _ANSWER.size or answer[:4] != b"\xfeSMB" or _HEADER.unpack_from(answer)[3] != 0:
        return ""
    number = _ANSWER.unpack_from(answer, _HEADER.size)[2]
    return DIALECTS.get(number, f"{number:#06x}")


def offers_smb1(address: str, port: int, timeout_s: float) -> bool:
    """Return whether the server accepts SMB1 (MS-CIFS, section 2.2.4.52). Raises OSError when nothing answers there."""
    body = b"\0" + struct.pack("<H", len(_SMB1_DIALECT)) + _SMB1_DIALECT
    answer = _ask(address, port, _SMB1_HEADER + body, timeout_s)
    # WordCount follows the header, then the index of the chosen dialect; 0xFFFF is none.
    return len(answer) >= 35 and answer[:4] == b"\xffSMB" and answer[33:35] != b"\xff\xff"


def _ask(address: str, port: int, message: bytes, timeout_s: float) -> bytes:
    """Send a message and return the answer; nothing when the server closes the connection instead."""
    with socket.create_connection((address, port), timeout=timeout_s) as connection:
        connection.sendall(struct.pack(">I", len(message)) + message)
        try:
            length = struct.unpack(">I", _read(connection, 4))[0] & 0xFFFFFF
            return _read(connection, min(length, _MOST_BYTES))
        except (ConnectionError, EOFError):
            return b""


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data
