# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the NT hash of a password, the form in which Samba's database has it. Pure.

A second run compares it with pdbedit's, and so needs neither the old password nor a login. Python has no MD4 where
OpenSSL 3 has none (RFC 6150 retired it), so the 48 steps of RFC 1320 are here. They protect nothing: the mode of
Samba's file does.
"""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFF
_START: tuple[int, ...] = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
#: Of each round (RFC 1320, section 3.4): the constant, the order of the words, and the rotations.
_ROUNDS = (
    (0, tuple(range(16)), (3, 7, 11, 19)),
    (0x5A827999, tuple(row + 4 * column for row in range(4) for column in range(4)), (3, 5, 9, 13)),
    (0x6ED9EBA1, (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), (3, 9, 11, 15)),
)


def make_nt_hash(password: str) -> str:
    """Return the NT hash as pdbedit(8) prints it, 32 hexadecimal digits in capitals."""
    return md4(password.encode("utf-16-le")).hex().upper()


def md4(data: bytes) -> bytes:
    """Return the MD4 digest of some bytes."""
    padded = data + b"\x80" + b"\0" * (-(len(data) + 9) % 64) + struct.pack("<Q", 8 * len(data))
    state = _START
    for offset in range(0, len(padded), 64):
        state = _mix(state, struct.unpack("<16I", padded[offset : offset + 64]))
    return struct.pack("<4I", *state)


def _mix(state: tuple[int, ...], words: tuple[int, ...]) -> tuple[int, ...]:
    """Return the state after one block."""
    a, b, c, d = state
    for number, (constant, order, rotations) in enumerate(_ROUNDS):
        for step, index in enumerate(order):
            mixed = (_FUNCTIONS[number](b, c, d) + a + words[index] + constant) & _MASK
            rotation = rotations[step % 4]
            a, b, c, d = d, (mixed << rotation | mixed >> (32 - rotation)) & _MASK, b, c
    return tuple((before + after) & _MASK for before, after in zip(state, (a, b, c, d)))


def _choose(b: int, c: int, d: int) -> int:
    return (b & c) | (~b & _MASK & d)


def _vote(b: int, c: int, d: int) -> int:
    return (b & c) | (b & d) | (c & d)


def _parity(b: int, c: int, d: int) -> int:
    return b ^ c ^ d


_FUNCTIONS = (_choose, _vote, _parity)
