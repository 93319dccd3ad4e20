"""A large upload with hash, quota, sidecar and fsync, against an endpoint that only streams to the disk and syncs.

The body is an MP4 of one box of random bytes. Both servers are processes of their own on loopback, and what they made
is removed after each turn. The server's memory is looked at before the first upload and, its peak, after the last.
"""

from __future__ import annotations

import os
import struct
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

from noslop_backend.schemas import ProjectCreate

from bench.backend_common import MIB, Client, Rounds, parser, seconds, serving, serving_bare, studio, tell

PIECE_BYTES = 4 * MIB
_FTYP = struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 0, b"isom")


def body(size_bytes: int, noise: memoryview) -> Iterator[bytes | memoryview]:
    """Give a file of this size in pieces: a type, and one `mdat` box for the rest (ISO/IEC 14496-12, 4.2)."""
    rest = size_bytes - len(_FTYP) - 16
    yield _FTYP + struct.pack(">I4sQ", 1, b"mdat", rest + 16)
    while rest:
        piece = noise[: min(rest, len(noise))]
        yield piece
        rest -= len(piece)


def main() -> int:
    """Measure, and print one JSON object."""
    takes = parser(__doc__, rounds=5)
    takes.add_argument("--mib", type=int, default=256, help="size of an upload (%(default)s; with --full 2048)")
    given = takes.parse_args()
    size = (2048 if given.full else given.mib) * MIB
    noise = memoryview(os.urandom(PIECE_BYTES))
    with ExitStack() as stack:
        made = stack.enter_context(studio(given.directory))
        project_id = made.storage.create_project_structure(ProjectCreate(name="Bench")).id
        ours, bare = stack.enter_context(serving(made)), stack.enter_context(serving_bare(made))

        def upload(size_bytes: int = size) -> float:
            with Client(ours) as client:
                path = f"/api/v1/projects/{project_id}/media?name=bench.mp4"
                pieces = body(size_bytes, noise)
                took = seconds(lambda: client.send("POST", path, pieces, length=size_bytes))
            files = made.storage.get_project_files(project_id).items
            assert [file.size_bytes for file in files] == [size_bytes]
            made.storage.trash(project_id, [files[0].id])
            made.storage.purge(project_id, [files[0].id])
            return took

        def upload_bare(size_bytes: int = size) -> float:
            name = uuid.uuid4().hex
            with Client(bare) as client:
                took = seconds(
                    lambda: client.send("POST", f"/files/{name}", body(size_bytes, noise), length=size_bytes)
                )
            written = made.root / name
            assert written.stat().st_size == size_bytes
            written.unlink()
            return took

        # What the first request of a process loads is no growth.
        upload(PIECE_BYTES)
        upload_bare(PIECE_BYTES)
        before, busy, busy_bare = ours.resident_bytes(), ours.cpu_seconds(), bare.cpu_seconds()
        rounds = Rounds.of({"upload": upload, "bare": upload_bare}, given.rounds)
        gib = given.rounds * size / 1024**3
        return tell(
            "backend_upload",
            mib=size // MIB,
            rounds=given.rounds,
            seconds={name: rounds.median(name) for name in ("upload", "bare")},
            upload_over_bare=rounds.ratio("upload", "bare"),
            server_cpu_seconds_per_gib={
                "upload": round((ours.cpu_seconds() - busy) / gib, 2),
                "bare": round((bare.cpu_seconds() - busy_bare) / gib, 2),
            },
            memory_growth_mib=round((ours.resident_bytes(peak=True) - before) / MIB, 1),
        )


if __name__ == "__main__":
    raise SystemExit(main())
