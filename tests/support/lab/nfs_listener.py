"""Read what passes to and from the NFS server of this machine, and print whether a text is in it.

    python3 nfs_listener.py TEXT READY STOP

Runs on a lab machine as root, with the standard library alone. Makes the file READY when it listens, and ends when the
file STOP is there.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

ALL_PROTOCOLS = 0x0003
TCP = 6
NFS_PORT = 2049
PACKET_BYTES = 256 * 1024


def read_payload(frame: bytes) -> bytes:
    """Return the payload of a TCP segment of NFS in an Ethernet frame; empty for any other frame."""
    if frame[12:14] != b"\x08\x00" or frame[23] != TCP:
        return b""
    segment = frame[14 + (frame[14] & 0x0F) * 4 :]
    ports = (int.from_bytes(segment[:2], "big"), int.from_bytes(segment[2:4], "big"))
    return segment[(segment[12] >> 4) * 4 :] if NFS_PORT in ports else b""


def main() -> None:
    """Listen until the file STOP is there."""
    text, ready, stop = sys.argv[1].encode(), Path(sys.argv[2]), Path(sys.argv[3])
    count, contains = 0, False
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024 * 1024)
        listener.settimeout(0.5)
        ready.touch()
        while not os.path.exists(stop):
            try:
                payload = read_payload(listener.recv(PACKET_BYTES))
            except TimeoutError:
                continue
            count += bool(payload)
            contains = contains or text in payload
    print(json.dumps({"segments": count, "contains": contains}))


if __name__ == "__main__":
    main()
