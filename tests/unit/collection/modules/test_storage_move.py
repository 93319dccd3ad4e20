# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move shares between two directories of this computer: real rsync, TLS, hashes, and runs that end half-way."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.modules import storage_move

from tests.support.module_runner import Fault, die, run_module
from tests.support.move_hosts import AWKWARD, NAMES, STUDIO, Move, make_shares

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners, and the root of rsync's modules, need root"),
    pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed (Debian: apt install rsync)"),
]


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a directory that may contain shares, unlike /tmp."""
    with tempfile.TemporaryDirectory(prefix="noslop-test-", dir="/srv") as directory:
        yield Path(directory)


@pytest.fixture
def move(place: Path) -> Iterator[Move]:
    one = Move(place)
    make_shares(one.source)
    yield one
    one.end()


def read_record(move: Move, part: str) -> dict[str, Any]:
    host = move.source if part == "source" else move.target
    record: dict[str, Any] = json.loads(Path(host.directories["record_file"]).read_text())
    return record


def share_directories(move: Move, part: str, *, check: bool = True) -> dict[str, Any]:
    """Ask the module of the role nfs_server whether a host may serve the shares."""
    host = move.source if part == "source" else move.target
    arguments = {
        "root": str(host.root),
        "gid": 2600,
        "studio_id": STUDIO,
        "min_free_gb": 0,
        "move_record": host.directories["record_file"],
        "shares": [{"name": name, "path": str(host.path(name)), "uid": 2600, "gid": 2600} for name in NAMES],
    }
    return run_module("share_directories", arguments, check=check)


def switch(move: Move, listings: list[dict[str, Any]]) -> None:
    move.source.do("set_aside", listings=listings)
    move.target.do("put_in_place")


def test_documented_example_runs(move: Move) -> None:
    (task,) = yaml.safe_load(storage_move.EXAMPLES.replace("/mnt/noslop", str(move.source.root)))
    arguments = {**task["noslop.studio.storage_move"], "studio_id": STUDIO, **move.source.directories}
    assert run_module("storage_move", arguments)["problems"] == []


def test_copy_keeps_owner_mode_times_links_holes_attributes_and_names(move: Move) -> None:
    top = move.source.path("projects")
    if shutil.which("setfacl"):
        subprocess.run(["setfacl", "-m", "u:1234:rwx", top / "film"], check=True)
    os.setxattr(top / "film", "user.kind", b"film")
    os.chown(top / "film/link", 2605, 2605, follow_symlinks=False)
    os.mkfifo(top / "pipe")
    move.begin()
    move.connect()
    move.copy()
    assert move.compare()[0] == []

    copied = move.target.staging("projects")
    one = (copied / "film/shots/one.bin").stat()
    assert (one.st_uid, one.st_gid, one.st_mode & 0o7777) == (2600, 2601, 0o640)
    assert one.st_mtime_ns == 1_600_000_000_987_654_321
    assert one.st_ino == (copied / "film/final.bin").stat().st_ino, "a hard link is one file"
    assert os.getxattr(copied / "film/shots/one.bin", "user.title") == b"a shot"
    assert os.listxattr(copied / "film") == os.listxattr(top / "film")
    assert (copied / "film/shots").stat().st_mtime_ns == 1_500_000_000_000_000_001
    assert (copied / "film/link").readlink() == Path("shots/one.bin")
    assert (copied / "film/link").lstat().st_uid == 2605
    assert (copied / "pipe").is_fifo()
    assert (copied / AWKWARD).read_text() == "odd"
    assert (copied / "film/sparse.bin").stat().st_blocks * 512 < 1_000_000
    assert copied.stat().st_mode & 0o7777 == 0o2775
    assert copied.parent.stat().st_mode & 0o7777 == 0o700, "no account reaches a copy that is not complete"


def test_files_that_change_meanwhile_are_in_the_rest(move: Move) -> None:
    move.begin()
    move.connect()
    top = move.source.path("projects")
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            (top / f"written-{number % 50}").write_text(str(number))
            (top / f"written-{(number - 25) % 50}").unlink(missing_ok=True)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        move.copy()
    finally:
        ended.set()
        writer.join()
    shutil.rmtree(top / "film")
    (top / "late").write_text("late")
    assert move.compare()[0] != []
    move.copy(final=True)
    assert move.compare()[0] == []
    assert (move.target.staging("projects") / "late").read_text() == "late"
    assert not (move.target.staging("projects") / "film").exists(), "what was removed is removed from the copy"


def test_planted_differences_are_named(move: Move) -> None:
    move.begin()
    move.connect()
    move.copy()
    assert move.compare()[0] == []
    copied = move.target.staging("projects")
    model = move.target.staging("comfyui_models") / "model.safetensors"
    status = model.stat()
    data = bytearray(model.read_bytes())
    data[4_000] ^= 1
    model.write_bytes(data)
    os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns))  # as rsync sees it, nothing changed
    os.chown(copied / "empty", 2606, 2606)
    (copied / AWKWARD).unlink()
    (copied / "more").touch()
    differences = move.compare()[0]
    assert "comfyui_models: 'model.safetensors' differs in content." in differences
    assert "projects: 'empty' differs in owner." in differences
    assert "projects: 'more' is on the new server only." in differences
    assert any("\\n" in one and "was not copied" in one for one in differences)


def test_interrupted_copy_is_continued(move: Move) -> None:
    big = move.source.path("projects") / "big.bin"
    big.write_bytes(os.urandom(30_000_000))
    move.begin()
    move.connect()
    copied = move.target.staging("projects")

    def end_server_when_started() -> None:
        while not any(one.name.startswith(".big.bin") for one in copied.glob(".*")):
            if ended.is_set():
                return
        move.source.run("stopped")

    ended = threading.Event()
    watcher = threading.Thread(target=end_server_when_started)
    watcher.start()
    answer = move.target.run("copied", **move.connection)
    ended.set()
    watcher.join()
    if answer.get("failed"):
        assert "the next run continues" in answer["msg"]
    move.begin()
    move.connect()
    move.copy()
    assert move.compare()[0] == []


def test_switch_moves_the_shares_by_rename_and_only_one_side_may_serve(move: Move) -> None:
    assert not share_directories(move, "source").get("failed")
    stamp = move.begin()
    assert not share_directories(move, "source").get("failed"), "it serves on while it is copied"
    assert "is not complete" in share_directories(move, "target")["msg"]
    move.connect()
    move.copy()
    differences, listings = move.compare()
    assert differences == []
    inode = move.target.staging("projects").stat().st_ino
    kept = move.source.do("set_aside", listings=listings)["kept_shares"]
    assert kept == [str(move.source.root / f".noslop-moved-{stamp}")]
    assert "was moved from this host to new" in share_directories(move, "source")["msg"]
    assert "is not complete" in share_directories(move, "target")["msg"], "at no moment may both serve"
    move.target.do("put_in_place")
    assert move.target.path("projects").stat().st_ino == inode
    assert "was moved from this host to new" in share_directories(move, "source")["msg"]
    assert not share_directories(move, "target", check=False).get("failed")
    assert read_record(move, "target")["stage"] == "served"

    old = Path(kept[0])
    assert old.stat().st_mode & 0o7777 == 0o700
    assert (old / "projects" / AWKWARD).read_text() == "odd"
    assert not (old / "projects/.noslop-share").exists(), "nothing accepts the kept files as the share"
    assert "move it back" in move.target.run("undone")["msg"]
    assert move.target.path("projects").is_dir()


def test_change_after_the_comparison_stops_the_switch_and_puts_everything_back(move: Move) -> None:
    move.begin()
    move.connect()
    move.copy()
    _differences, listings = move.compare()
    (move.source.path("projects") / "film/shots/one.bin").chmod(0o600)
    answer = move.source.run("set_aside", listings=listings)
    assert "changed after the comparison" in answer["msg"]
    assert (move.source.path("projects") / ".noslop-share").exists()
    assert read_record(move, "source")["stage"] == "copying"
    assert not share_directories(move, "source").get("failed")


def test_program_that_uses_a_share_of_the_old_server_is_named(move: Move) -> None:
    move.begin()
    with subprocess.Popen(["sleep", "60"], cwd=move.source.path("projects") / "film") as program:
        answer = move.source.run("listed", final=True)
        program.kill()
    assert f"sleep (pid {program.pid}) uses {move.source.path('projects')}/film" in answer["msg"]


@pytest.mark.parametrize("number", range(1, 5))
def test_switch_that_is_killed_is_put_back_and_done_again(move: Move, number: int) -> None:
    stamp = move.begin()
    move.connect()
    move.copy()
    _differences, listings = move.compare()
    fault = Fault(number, die, frozenset({"os.rename", "ctypes.call_function", "ctypes.dlopen"}))
    answer = move.source.run("set_aside", fault=fault, listings=listings)
    if "died" in answer and read_record(move, "source")["stage"] != "switched":
        refusal = share_directories(move, "source")
        assert not refusal.get("failed") or "was interrupted" in refusal["msg"]
        assert move.begin() == stamp
        assert not share_directories(move, "source").get("failed")
        move.connect() if not move.connection else None
        move.copy(final=True)
        differences, listings = move.compare()
        assert differences == []
    switch(move, listings)
    assert (move.target.path("projects") / AWKWARD).read_text() == "odd"


def test_undone_move_leaves_nothing_but_the_shares(move: Move) -> None:
    before = sorted(path.name for path in move.source.root.iterdir())
    move.begin()
    move.connect()
    move.copy()
    _differences, listings = move.compare()
    switch(move, listings)  # but the inventory still names the old server, so the new one never served
    move.target.do("undone")
    move.source.do("undone")
    assert sorted(path.name for path in move.source.root.iterdir()) == before
    assert (move.source.path("projects") / ".noslop-share").exists()
    assert list(move.target.root.iterdir()) == []
    assert not share_directories(move, "source").get("failed")
    assert move.source.do("undone")["changed"] is False


@pytest.mark.long
def test_storage_moves_back_again(move: Move, place: Path) -> None:
    move.begin()
    move.connect()
    move.copy()
    switch(move, move.compare()[1])
    share_directories(move, "target", check=False)
    (move.target.path("projects") / "new").write_text("new")
    move.end()
    back = Move.__new__(Move)
    back.source, back.target, back.connection = move.target, move.source, {}
    back.source.part, back.source.peer, back.target.part, back.target.peer = "source", "old", "target", "new"
    back.begin()
    back.connect()
    back.copy()
    differences, listings = back.compare()
    assert differences == []
    switch(back, listings)
    back.end()
    assert (back.target.path("projects") / "new").read_text() == "new"


def test_server_accepts_only_the_key_of_the_move(move: Move, place: Path) -> None:
    move.begin()
    move.connect()
    address = (move.connection["address"], move.connection["port"])
    anonymous = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anonymous.check_hostname, anonymous.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(address) as raw, anonymous.wrap_socket(raw) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(b"@RSYNCD: 31.0\n")
        try:
            greeting = connection.recv(100)
        except OSError:
            greeting = b""
        assert greeting == b"", "no greeting without the key"
    with socket.create_connection(address, source_address=("127.0.0.2", 0)) as raw:
        assert raw.recv(100) == b"", "another address is closed without an answer"
    other = move.target.run("keyed")["certificate"]  # of a key that the server was not told
    assert other != move.connection["certificate"]
    answer = move.target.run("copied", **move.connection)
    assert answer["failed"]
    assert not any(move.target.staging("projects").iterdir())


def test_client_rejects_a_server_with_another_key(move: Move) -> None:
    move.begin()
    move.connect()
    forged = move.target.do("keyed")["certificate"]
    answer = move.target.run("copied", **{**move.connection, "certificate": forged})
    assert answer["failed"]
    assert "certificate verify failed" in answer["msg"]


def test_server_ends_and_keys_go_when_it_is_stopped(move: Move) -> None:
    move.begin()
    move.connect()
    move.copy()
    assert move.source.do("stopped")["changed"]
    move.target.do("stopped")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((move.connection["address"], move.connection["port"]))
    for host in (move.source, move.target):
        assert not list(Path(host.directories["run_directory"]).glob("*.pem"))


def test_room_paths_and_disks_are_judged_before_anything_changes(move: Move, place: Path) -> None:
    needs = move.source.do("examined")["needs"]
    answer = move.target.do("examined", needs=[{**needs[0], "size": 10**18}, needs[1]])
    assert "are to be copied" in " ".join(answer["problems"])
    move.target.path("projects").mkdir()
    (move.target.path("projects") / "mine").touch()
    answer = move.target.do("examined", needs=needs)
    assert answer["problems"] == [f"{move.target.path('projects')} contains files. Move them away, and run this again."]
    (move.source.path("projects") / ".noslop-share").write_text('{"studio_id": "other", "share": "projects"}')
    assert "belongs to the studio 'other'" in move.source.do("examined")["problems"][0]
    assert not (place / "new/state.json").exists()
    assert move.target.run("begun", check=True)["changed"]
    assert not (place / "new/state.json").exists(), "check mode writes nothing"


def test_copy_that_is_there_needs_no_room_again(move: Move) -> None:
    needs = move.source.do("examined")["needs"]
    space = os.statvfs(move.target.root)
    free_gb = space.f_bavail * space.f_frsize / 1e9
    (move.target.staging("projects")).mkdir(parents=True)
    (move.target.staging("projects") / "copied").write_bytes(os.urandom(1_000_000))
    wanted = [{**needs[0], "size": 1_000_000}, {**needs[1], "size": 0}]
    assert move.target.do("examined", needs=wanted, min_free_gb=free_gb - 0.5)["problems"] == []
    wanted[1]["size"] = 10**9
    assert move.target.do("examined", needs=wanted, min_free_gb=free_gb - 0.5)["problems"]


def test_new_server_that_could_not_export_is_refused(move: Move) -> None:
    arguments = {"root": str(move.target.root), "require_own_file_system": True}
    problems = " ".join(move.target.do("examined", **arguments)["problems"])
    assert "noslop_require_own_file_system is true" in problems
    has_nfsd = "nfsd" in Path("/proc/filesystems").read_text()
    assert has_nfsd or "no NFS server" in problems


def test_second_move_is_refused_while_the_first_is_not_complete(move: Move) -> None:
    move.begin()
    answer = move.source.run("begun", peer="third")
    assert "A move of the storage from this host to new is not complete." in answer["msg"]
    assert move.source.do("examined", peer="third")["problems"]
