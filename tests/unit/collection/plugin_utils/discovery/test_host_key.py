# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that what a server sends in place of a key exchange is refused; real servers are in the tests of discovery."""

from __future__ import annotations

import asyncio
import base64
import struct

import pytest
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.host_key import (
    GREETING,
    NoKeyError,
    format_key,
    read_host_key,
)
from hypothesis import given
from hypothesis import strategies as st

KEXINIT, IGNORE, DISCONNECT, REPLY = 20, 2, 1, 31
ED25519 = struct.pack(">I", 11) + b"ssh-ed25519" + struct.pack(">I", 32) + bytes(range(32))


def pack_string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def pack_packet(payload: bytes) -> bytes:
    return struct.pack(">IB", len(payload) + 5, 4) + payload + bytes(4)


def offer(methods: bytes = b"curve25519-sha256") -> bytes:
    return pack_packet(bytes([KEXINIT]) + bytes(16) + pack_string(methods))


def exchange(answer: bytes) -> str:
    """Read the key from a server on loopback that sends this after its greeting, and ends the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(GREETING)) == GREETING
        writer.write(answer)
        writer.write_eof()
        await reader.read()
        writer.close()

    async def run() -> str:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                return await read_host_key(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    return asyncio.run(run())


def test_key_is_read_past_messages_that_are_to_be_ignored() -> None:
    ignored = pack_packet(bytes([IGNORE]) + pack_string(b"x"))
    answer = ignored + offer() + ignored + pack_packet(bytes([REPLY]) + pack_string(ED25519))
    assert exchange(answer) == f"ssh-ed25519 {base64.b64encode(ED25519).decode()}"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        struct.pack(">I", 2**31),
        struct.pack(">IB", 2, 200) + b"x",
        pack_packet(bytes([DISCONNECT])),
        offer(b"mlkem768x25519-sha256"),
        pack_packet(bytes([KEXINIT]) + bytes(16) + struct.pack(">I", 5000)),
        offer() + pack_packet(bytes([REPLY])),
        offer() + pack_packet(bytes([REPLY]) + pack_string(pack_string(b"ssh-dss"))),
        pack_packet(bytes([IGNORE]) + pack_string(b"x")) * 20,
    ],
)
def test_server_that_sends_no_key_is_refused(answer: bytes) -> None:
    with pytest.raises((NoKeyError, EOFError)):
        exchange(answer)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_key_or_refused(content: bytes) -> None:
    try:
        kind, __, encoded = format_key(content).partition(" ")
    except NoKeyError:
        return
    assert kind in ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")
    assert base64.b64decode(encoded) == content
