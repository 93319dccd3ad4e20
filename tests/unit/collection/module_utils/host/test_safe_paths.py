"""Test that changes as root below an account's directory stay below it, whatever the account makes there."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths

ACCOUNT, OTHER = 61234, 61235
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a directory of root's that must not change."""
    place = tmp_path / "outside"
    place.mkdir(mode=0o755)
    (place / "secret").write_text("root's")
    return place


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a directory whose entries others than root can replace."""
    place = tmp_path / "state"
    place.mkdir()
    place.chmod(0o777)
    return place


def picture(directory: Path) -> list[tuple[str, int, int, int, bytes]]:
    """Return everything that a change would show in: names, owners, modes, contents."""
    return [
        (
            str(path.relative_to(directory)),
            (about := path.lstat()).st_uid,
            about.st_gid,
            about.st_mode,
            path.read_bytes() if stat.S_ISREG(about.st_mode) else b"",
        )
        for path in [directory, *sorted(directory.rglob("*"))]
    ]


def plant(kind: str, place: Path, outside: Path) -> None:
    """Make an entry in place of the target."""
    targets = {"to a directory": outside, "to a file": outside / "secret", "dangling": outside / "new"}
    if kind == "hard link":
        os.link(outside / "secret", place)
    else:
        place.symlink_to(targets[kind])


def operations(path: Path) -> dict[str, Callable[[], object]]:
    me, group = os.geteuid(), os.getegid()
    return {
        "open": lambda: os.close(safe_paths.open_directory(str(path))),
        "open below": lambda: os.close(safe_paths.open_directory(str(path / "deep"))),
        "make": lambda: safe_paths.make_directory(str(path), me, group, 0o2770),
        "make below": lambda: safe_paths.make_directory(str(path / "a" / "b"), me, group, 0o2770),
        "change owner": lambda: safe_paths.change_owner_tree(str(path), {me}, me, group, {group}),
        "read": lambda: safe_paths.read_file(str(path), 100),
        "remove below": lambda: safe_paths.remove_tree(str(path / "secret")),
    }


@pytest.mark.parametrize("kind", ["to a directory", "to a file", "dangling"])
@pytest.mark.parametrize("name", list(operations(Path("/"))))
def test_links_below_an_accounts_directory_are_refused(name: str, kind: str, state: Path, outside: Path) -> None:
    plant(kind, state / "temp", outside)
    before = picture(outside)
    with pytest.raises(safe_paths.UnsafePath, match="is a link") as refusal:
        operations(state / "temp")[name]()
    assert str(state / "temp") in str(refusal.value.filename)
    assert picture(outside) == before


@pytest.mark.parametrize("kind", ["to a directory", "to a file", "dangling", "hard link"])
def test_existing_entries_are_replaced_and_not_written_through(kind: str, state: Path, outside: Path) -> None:
    plant(kind, state / "constraints.txt", outside)
    before = picture(outside)
    directory = safe_paths.open_directory(str(state))
    try:
        safe_paths.write_file(directory, "constraints.txt", b"torch==1", os.geteuid(), os.getegid(), 0o640)
    finally:
        os.close(directory)
    assert [(path[0], *path[3:]) for path in picture(outside)] == [(path[0], *path[3:]) for path in before]
    assert (state / "constraints.txt").read_text() == "torch==1"
    assert stat.S_IMODE((state / "constraints.txt").lstat().st_mode) == 0o640
    assert os.listdir(state) == ["constraints.txt"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "../b"])
def test_only_plain_names_are_written(name: str, state: Path) -> None:
    directory = safe_paths.open_directory(str(state))
    with pytest.raises(safe_paths.UnsafePath, match="no plain name"):
        safe_paths.write_file(directory, name, b"", 0, 0, 0o600)
    os.close(directory)


def test_links_that_only_root_can_make_are_followed(tmp_path: Path, state: Path) -> None:
    (state / "temp").mkdir()
    (tmp_path / "moved").symlink_to("state")
    descriptor = safe_paths.open_directory(str(tmp_path / "moved" / "temp"))
    assert os.path.samestat(os.fstat(descriptor), (state / "temp").stat())
    os.close(descriptor)
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(safe_paths.UnsafePath):
        safe_paths.open_directory(str(tmp_path / "round"))


def test_directories_are_made_and_corrected_once(tmp_path: Path) -> None:
    path, me = tmp_path / "a" / "b", (os.geteuid(), os.getegid())
    assert safe_paths.make_directory(str(path), *me, 0o2770)
    assert not safe_paths.make_directory(str(path), *me, 0o2770)
    assert [stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent)] == [0o2770, 0o755]
    path.chmod(0o700)
    assert safe_paths.make_directory(str(path), *me, 0o2770)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        safe_paths.make_directory(str(tmp_path / "file"), *me, 0o755)


def test_files_are_read_up_to_a_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("12345")
    assert safe_paths.read_file(str(tmp_path / "file"), 5) == b"12345"
    with pytest.raises(OSError, match="too large"):
        safe_paths.read_file(str(tmp_path / "file"), 4)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        safe_paths.read_file(str(tmp_path / "pipe"), 5)


def test_removal_follows_no_link_and_has_no_depth_limit(tmp_path: Path, outside: Path) -> None:
    before = picture(outside)
    tree = tmp_path / "tree"
    tree.mkdir()
    for kind in ("to a directory", "to a file", "dangling", "hard link"):
        plant(kind, tree / kind, outside)
    inner = os.open(tree, os.O_RDONLY)
    for _ in range(safe_paths.MAX_DEPTH * 3):  # deeper than a path may be long
        os.mkdir("directory-of-a-long-name", dir_fd=inner)
        deeper = os.open("directory-of-a-long-name", os.O_RDONLY, dir_fd=inner)
        os.close(inner)
        inner = deeper
    os.close(inner)
    safe_paths.remove_tree(str(tree))
    safe_paths.remove_tree(str(tree))
    assert not tree.exists()
    assert picture(outside) == before


@root_only
def test_owner_change_stays_inside_the_tree(tmp_path: Path, outside: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "inner").mkdir(parents=True)
    for name in ("inner/mine", "inner/others"):
        (tree / name).touch()
    os.link(tree / "inner" / "mine", tree / "second name")
    (outside / "project").touch()
    os.link(outside / "project", tree / "linked")  # owned by the account, and with a name outside
    for path in (tree, tree / "inner", tree / "inner/mine", outside / "project"):
        os.chown(path, ACCOUNT, ACCOUNT)
    os.chown(tree / "inner/others", OTHER, ACCOUNT)
    (tree / "inner").chmod(0o2770)
    plant("to a directory", tree / "etc", outside)
    os.chown(tree / "etc", ACCOUNT, ACCOUNT, follow_symlinks=False)
    plant("hard link", tree / "shadow", outside)
    before = picture(outside)
    assert safe_paths.change_owner_tree(str(tree), {ACCOUNT}, OTHER, OTHER) == 5
    assert safe_paths.change_owner_tree(str(tree), {ACCOUNT}, OTHER, OTHER) == 0
    assert picture(outside) == before
    owners = {str(path.relative_to(tree)): path.lstat().st_uid for path in tree.rglob("*")}
    assert owners == {
        "inner": OTHER, "inner/mine": OTHER, "second name": OTHER, "inner/others": OTHER,
        "etc": OTHER, "linked": ACCOUNT, "shadow": 0,
    }  # fmt: skip
    assert stat.S_IMODE((tree / "inner").stat().st_mode) == 0o2770
    assert tree.stat().st_uid == OTHER


@root_only
def test_mounts_inside_a_tree_are_not_changed(tmp_path: Path, outside: Path) -> None:
    """Use a bind mount, which has the same device: only the number of the mount differs."""
    (tmp_path / "tree" / "share").mkdir(parents=True)
    program = (
        "import sys\n"
        "from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths\n"
        f"safe_paths.change_owner_tree({str(tmp_path / 'tree')!r}, {{0}}, {ACCOUNT}, {ACCOUNT})\n"
        "try:\n"
        f"    safe_paths.remove_tree({str(tmp_path / 'tree')!r})\n"
        "except OSError as error:\n"
        "    sys.exit('mount point' not in str(error))\n"
        "sys.exit('it was removed')\n"
    )
    before = picture(outside)
    script = f'mount --bind {outside} {tmp_path}/tree/share && exec {sys.executable} -c "$PROGRAM"'
    environment = {**os.environ, "PROGRAM": program, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(["unshare", "--mount", "bash", "-c", script], env=environment, check=True)
    assert picture(outside) == before


@root_only
def test_swapping_directories_for_links_redirects_nothing(tmp_path: Path, outside: Path) -> None:
    """Replace a directory by a link to root's, as fast as possible, in a process of the account."""
    state = tmp_path / "state"
    (state / "temp" / "inner").mkdir(parents=True)
    for path in (state, state / "temp", state / "temp" / "inner"):
        os.chown(path, ACCOUNT, ACCOUNT)
    tmp_path.parent.parent.chmod(0o755)
    tmp_path.parent.chmod(0o755)
    tmp_path.chmod(0o755)
    program = f"""
import ctypes, os
os.setgid({ACCOUNT}); os.setuid({ACCOUNT})
os.chdir({str(state)!r})
os.symlink({str(outside)!r}, "link")
libc = ctypes.CDLL(None, use_errno=True)
print("ready", flush=True)
while True:  # AT_FDCWD, RENAME_EXCHANGE
    libc.renameat2(-100, b"temp", -100, b"link", 2)
"""
    before = picture(outside)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as attacker:
        assert attacker.stdout is not None
        attacker.stdout.readline()
        refused = number = 0
        while number < 1000 or refused < 20:
            number += 1
            try:
                safe_paths.make_directory(str(state / "temp"), ACCOUNT, ACCOUNT, (0o2770, 0o2750)[number % 2])
                safe_paths.make_directory(str(state / "temp" / "inner"), ACCOUNT, ACCOUNT, 0o2770)
                safe_paths.change_owner_tree(str(state / "temp"), {0}, ACCOUNT, ACCOUNT)
                safe_paths.remove_tree(str(state / "temp" / "secret"))
            except OSError:
                refused += 1
        attacker.kill()
    assert picture(outside) == before
