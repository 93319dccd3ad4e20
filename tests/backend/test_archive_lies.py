# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives that lie. Each is refused with a reason, and nothing of it is left behind."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from noslop_backend.archive import ArchiveError, export, import_from
from noslop_backend.archive.tar import TarReader, TarWriter, header
from noslop_backend.core.errors import BackendError

from tests.backend.filled import fill
from tests.backend.studio import Studio, make_sqlite, make_studio
from tests.backend.test_archive import assert_nothing_came

Members = list[tuple[tarfile.TarInfo, bytes]]
Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An archive that tells the truth."""
    directory = tmp_path_factory.mktemp("honest")
    studio = make_studio(directory, f"sqlite:///{make_sqlite(directory / 'db.sqlite3')}")
    stream = io.BytesIO()
    export(studio.storage, fill(studio.storage).project_id, stream)
    studio.close()
    return stream.getvalue()


def members_of(archive: bytes) -> Members:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return [(info, opened.extractfile(info).read()) for info in opened]  # type: ignore[union-attr]  # all are files


def packed(members: Members) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return stream.getvalue()


def entry(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, link
    return info, content


def with_manifest(archive: bytes, change: Callable[[Lines], Lines]) -> bytes:
    """The archive with another manifest, whose checksum is right."""
    members = members_of(archive)
    lines = [json.loads(line) for line in members[0][1].splitlines()]
    text = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in change(lines))
    return packed(
        [
            entry("manifest.jsonl", text),
            entry("manifest.blake3", f"{blake3(text).hexdigest()}  manifest.jsonl\n".encode()),
            *members[2:],
        ]
    )


def files(lines: Lines) -> Lines:
    return [line for line in lines if line["line"] == "file"]


def set_in_file(number: int, **values: Any) -> Callable[[Lines], Lines]:  # noqa: ANN401 - any JSON
    def change(lines: Lines) -> Lines:
        files(lines)[number].update(values)
        return lines

    return change


def set_in_project(**values: Any) -> Callable[[Lines], Lines]:  # noqa: ANN401 - any JSON
    return lambda lines: [lines[0] | values, *lines[1:]]


def more_bytes(lines: Lines) -> Lines:
    """Say that the first file is larger than it is, consistently."""
    files(lines)[0]["size_bytes"] += 512
    lines[0]["total_bytes"] += 512
    return lines


def twice(lines: Lines) -> Lines:
    at = lines.index(files(lines)[0])
    again = lines[at]
    return [
        lines[0]
        | {"files_count": lines[0]["files_count"] + 1, "total_bytes": lines[0]["total_bytes"] + again["size_bytes"]},
        *lines[1 : at + 1],
        *lines[at:],
    ]


def sidecar_first(lines: Lines) -> Lines:
    listed = files(lines)
    sidecar = next(line for line in listed if line["kind"] == "sidecar")
    lines.remove(sidecar)
    lines.insert(lines.index(listed[0]), sidecar)
    return lines


def terabytes(lines: Lines) -> Lines:
    grown = 2**50 - files(lines)[0]["size_bytes"]
    files(lines)[0]["size_bytes"] += grown
    lines[0]["total_bytes"] += grown
    return lines


def linked_to_nothing(lines: Lines) -> Lines:
    next(line for line in files(lines) if line["same_as"])["same_as"] = "0" * 13
    return lines


IN_THE_MANIFEST: dict[str, Callable[[Lines], Lines]] = {
    "absolute path": set_in_file(0, path="/etc/passwd"),
    "path that climbs": set_in_file(0, path="../../../etc/passwd"),
    "path in staging": set_in_file(0, path=".staging/0.part"),
    "path in the trash": set_in_file(0, path=".trash/generated/images/x-0123456789abc.png"),
    "metadata.json": set_in_file(0, path="metadata.json"),
    "path of another id": set_in_file(0, path="generated/images/x-0123456789abc.png"),
    "path with NUL": set_in_file(0, path="generated/images/x\0-0123456789abc.png"),
    "id that is a path": set_in_file(0, id="../../x"),
    "kind of another directory": set_in_file(0, kind="video"),
    "state nobody imports": set_in_file(0, state="purging"),
    "missing as state": set_in_file(0, state="missing"),
    "negative size": set_in_file(0, size_bytes=-1),
    "size that is no number": set_in_file(0, size_bytes="many"),
    "hash of other length": set_in_file(0, blake3="ab"),
    "a wrong hash": set_in_file(0, blake3="0" * 64),
    "more bytes than there are": more_bytes,
    "more bytes than any disk has": terabytes,
    "sum that is wrong": set_in_project(total_bytes=1),
    "count that is wrong": set_in_project(files_count=3),
    "project id that climbs": set_in_project(id="../x"),
    "project id that is hidden": set_in_project(id=".imports"),
    "newer format": set_in_project(version=99),
    "another format": set_in_project(format="zip"),
    "time without zone": set_in_project(created_at="2026-01-01T00:00:00"),
    "unknown field": set_in_project(root=True),
    "file listed twice": twice,
    "sidecar before its file": sidecar_first,
    "no project": lambda lines: lines[1:],
    "two projects": lambda lines: [lines[0], *lines],
    "other order": lambda lines: [lines[0], *reversed(lines[1:])],
    "need of a stranger": lambda lines: [*lines, {"line": "need", "from_id": "0" * 13, "to_id": "0" * 13}],
    "content of a stranger": linked_to_nothing,
    "line of no kind": lambda lines: [*lines, {"line": "shell", "run": "rm"}],
    "version of no document": lambda lines: [line for line in lines if line["line"] != "document"],
    "parameters that are no object": set_in_file(0, parameters=[1]),
    "name with a line break": set_in_file(0, name="a\nb"),
}


@pytest.mark.parametrize("lie", IN_THE_MANIFEST)
def test_a_manifest_that_lies(studio: Studio, honest: bytes, lie: str) -> None:
    archive = with_manifest(honest, IN_THE_MANIFEST[lie])
    with pytest.raises(BackendError) as caught:
        import_from(studio.storage, io.BytesIO(archive))
    assert caught.value.code in {"archive", "storage_full"}
    assert_nothing_came(studio)


def pax(name: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo(name)
        info.pax_headers = {"path": "../../evil"}
        archive.addfile(info)
    return stream.getvalue()


def cut(archive: bytes) -> bytes:
    return archive[: len(archive) * 2 // 3]


def flipped(archive: bytes) -> bytes:
    """One bit of the last file is another."""
    last = archive.rindex(b"noslop")
    return archive[:last] + bytes([archive[last] ^ 1]) + archive[last + 1 :]


def inserted(at: int, *added: tuple[tarfile.TarInfo, bytes]) -> Callable[[bytes], bytes]:
    def change(archive: bytes) -> bytes:
        members = members_of(archive)
        members[at:at] = added
        return packed(members)

    return change


def renamed(number: int, name: str) -> Callable[[bytes], bytes]:
    def change(archive: bytes) -> bytes:
        members = members_of(archive)
        members[number][0].name = name
        return packed(members)

    return change


def claimed(size_bytes: int) -> Callable[[bytes], bytes]:
    """A first file whose header claims another size."""
    return lambda archive: header("manifest.jsonl", size_bytes) + archive[512:]


def appended(archive: bytes) -> bytes:
    return packed([*members_of(archive), entry("files/more.bin", b"x" * 10)])


def swapped(archive: bytes) -> bytes:
    members = members_of(archive)
    members[2], members[3] = members[3], members[2]
    return packed(members)


def replaced(archive: bytes) -> bytes:
    members = members_of(archive)
    info, content = members[2]
    members[2] = entry(info.name, b"\0" * len(content))
    return packed(members)


def without_last(archive: bytes) -> bytes:
    return packed(members_of(archive)[:-1])


IN_THE_TAR: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _archive: b"",
    "no tar": lambda _archive: b"PK\3\4" + b"x" * 2000,
    "zeros": lambda _archive: b"\0" * 10240,
    "cut off": cut,
    "cut in a header": lambda archive: archive[:100],
    "a flipped bit": flipped,
    "a symbolic link": inserted(2, entry("files/link", kind=tarfile.SYMTYPE, link="/etc/passwd")),
    "a hard link": inserted(2, entry("files/link", kind=tarfile.LNKTYPE, link="/etc/passwd")),
    "a device": inserted(2, entry("files/null", kind=tarfile.CHRTYPE)),
    "a FIFO": inserted(2, entry("files/fifo", kind=tarfile.FIFOTYPE)),
    "a directory": inserted(2, entry("files", kind=tarfile.DIRTYPE)),
    "an extended header": lambda archive: pax("x") + archive,
    "a long name of GNU's": inserted(0, entry("././@LongLink", b"x" * 600, kind=tarfile.GNUTYPE_LONGNAME)),
    "an absolute name": renamed(2, "/etc/passwd"),
    "a name that climbs": renamed(2, "files/../../../etc/passwd"),
    "another name": renamed(2, "files/generated/images/other.png"),
    "a file too many": appended,
    "a file too many in the middle": inserted(4, entry("files/x", b"x")),
    "a file too few": without_last,
    "files exchanged": swapped,
    "a file twice": lambda archive: packed([*members_of(archive)[:3], *members_of(archive)[2:]]),
    "another content": replaced,
    "a manifest of terabytes": claimed(2**45),
    "a manifest that is too short": claimed(100),
    "a manifest without checksum": lambda archive: packed([*members_of(archive)[:1], *members_of(archive)[2:]]),
    "a wrong checksum": lambda archive: packed(
        [members_of(archive)[0], entry("manifest.blake3", b"0" * 64), *members_of(archive)[2:]]
    ),
}


@pytest.mark.parametrize("lie", IN_THE_TAR)
def test_a_tar_that_lies(studio: Studio, honest: bytes, lie: str) -> None:
    with pytest.raises(ArchiveError):
        import_from(studio.storage, io.BytesIO(IN_THE_TAR[lie](honest)))
    assert_nothing_came(studio)


def test_the_honest_one_is_taken(studio: Studio, honest: bytes) -> None:
    imported = import_from(studio.storage, io.BytesIO(packed(members_of(honest))))
    studio.check(imported.project.id)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_whatever_bit_is_flipped_the_tar_reader_stays_whole(honest: bytes, at: int, bit: int) -> None:
    """It reads to the end, or refuses; it never gives more than there is."""
    place = at % len(honest)
    archive = honest[:place] + bytes([honest[place] ^ 1 << bit]) + honest[place + 1 :]
    reader, total = TarReader(io.BytesIO(archive)), 0
    try:
        while reader.next():
            total += sum(len(piece) for piece in reader.pieces())
    except ArchiveError:
        pass
    assert total <= len(archive)


@given(size=st.one_of(st.integers(0, 2**40), st.sampled_from([8**11 - 1, 8**11, 8**11 + 1, 2**62])))
def test_any_size_fits_a_header(size: int) -> None:
    info = tarfile.TarInfo.frombuf(header("files/x", size), "utf-8", "strict")
    assert (info.size, info.name) == (size, "files/x")


def test_a_recorder_refuses_other_lengths() -> None:
    for content in (b"", b"12", b"1234"):
        with pytest.raises(ValueError, match="were announced"):
            TarWriter(io.BytesIO()).add("x", 3, iter([content]))
