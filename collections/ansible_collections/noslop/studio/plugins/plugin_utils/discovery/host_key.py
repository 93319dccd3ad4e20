# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the public key of an SSH server on the connection that read its greeting.

A server sends its key in the first answer of a key exchange, before anything is encrypted (RFC 4253, section 7; RFC
5656, section 4; RFC 8731). So this begins an exchange and ends the connection there: no secret is made, and the
signature of that answer is not verified. A login with the key in a ``known_hosts`` file is what has the server prove
that the key is its own.

``ssh-keyscan`` does the same with a whole exchange on a connection of its own. That costs this computer 35 ms of a
processor for each server (OpenSSH 9.2, sntrup761x25519), and a server that counts connections without a login
(sshd_config(5), PerSourcePenalties) a second one.
"""

from __future__ import annotations

import asyncio
import base64
import os
import struct

GREETING = b"SSH-2.0-NoSlop\r\n"

#: A point of each curve that stands for this side's public key: the base points (RFC 7748, section 4.1; SEC 2, 2.4.2).
_POINTS = {
    "curve25519-sha256": bytes([9]) + bytes(31),
    "curve25519-sha256@libssh.org": bytes([9]) + bytes(31),
    "ecdh-sha2-nistp256": bytes.fromhex(
        "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
    ),
}
#: One type is enough to identify and pin a machine; few servers lack ed25519.
_KEY_TYPES = "ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256,ssh-rsa"
_CIPHERS = "chacha20-poly1305@openssh.com,aes128-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com"
_MACS = (
    "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256,hmac-sha2-512"
)
_COMPRESSIONS = "none,zlib@openssh.com"

# Message numbers (RFC 4250, section 4.1.2; RFC 5656, section 7.1).
_IGNORE, _UNIMPLEMENTED, _DEBUG, _KEXINIT, _KEX_ECDH_INIT, _KEX_ECDH_REPLY = 2, 3, 4, 20, 30, 31
_SKIPPED = {_IGNORE, _UNIMPLEMENTED, _DEBUG}

_BLOCK_BYTES = 8
_COOKIE_BYTES = 16
#: RFC 4253, section 6.1: what every implementation must be able to handle.
_PACKET_LIMIT_BYTES = 35_000
_MESSAGES_LIMIT = 10


class NoKeyError(ValueError):
    """The server did not send its key, or not in a way that is understood here."""


async def read_host_key(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Return a server's key as ``<type> <base64>``, on a connection of which its greeting line has been read.

    Args:
        reader: what the server sends.
        writer: what it is sent. Nothing was sent yet. The caller closes it.

    Raises:
        NoKeyError: the server has no key exchange or no type of key that this knows, or it is no SSH server.
        OSError: the connection broke.
        EOFError: the server ended it.
    """
    names = [*(",".join(_POINTS), _KEY_TYPES), *[_CIPHERS] * 2, *[_MACS] * 2, *[_COMPRESSIONS] * 2, "", ""]
    offer = bytes([_KEXINIT]) + os.urandom(_COOKIE_BYTES) + b"".join(_pack_string(one.encode()) for one in names)
    writer.write(GREETING + _pack_packet(offer + bytes(5)))
    offered = await _read_message(reader, _KEXINIT)
    theirs = _read_string(offered[_COOKIE_BYTES:])[0].decode("ascii", "replace").split(",")
    method = next((name for name in _POINTS if name in theirs), None)
    if method is None:
        raise NoKeyError("it has no key exchange that is known here")
    writer.write(_pack_packet(bytes([_KEX_ECDH_INIT]) + _pack_string(_POINTS[method])))
    key = _read_string(await _read_message(reader, _KEX_ECDH_REPLY))[0]
    return format_key(key)


def format_key(key: bytes) -> str:
    """Return a public key as ``<type> <base64>``, from its form in SSH messages.

    Raises:
        NoKeyError: it is no such form.
    """
    kind = _read_string(key)[0].decode("ascii", "replace")
    if kind not in ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"):
        raise NoKeyError("it sent a key of an unknown type")
    return f"{kind} {base64.b64encode(key).decode('ascii')}"


async def _read_message(reader: asyncio.StreamReader, number: int) -> bytes:
    """Return the content of the next message, which has to have this number."""
    for __ in range(_MESSAGES_LIMIT):
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        if not 2 <= length <= _PACKET_LIMIT_BYTES:
            raise NoKeyError("it sent a packet that is too long")
        packet = await reader.readexactly(length)
        payload = packet[1 : length - packet[0]]
        if not payload:
            raise NoKeyError("it sent an empty message")
        if payload[0] == number:
            return payload[1:]
        if payload[0] not in _SKIPPED:
            break
    raise NoKeyError(f"it did not send message {number}")


def _pack_packet(payload: bytes) -> bytes:
    """Return an unencrypted packet (RFC 4253, section 6): its padding has at least 4 bytes and fills a block."""
    padding = _BLOCK_BYTES - (5 + len(payload)) % _BLOCK_BYTES
    if padding < 4:
        padding += _BLOCK_BYTES
    return struct.pack(">IB", 1 + len(payload) + padding, padding) + payload + bytes(padding)


def _pack_string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _read_string(content: bytes) -> tuple[bytes, bytes]:
    """Return the string at the start of a message, and what follows it."""
    if len(content) < 4:
        raise NoKeyError("a message ends too early")
    (length,) = struct.unpack(">I", content[:4])
    if length > len(content) - 4:
        raise NoKeyError("a message ends too early")
    return content[4 : 4 + length], content[4 + length :]
