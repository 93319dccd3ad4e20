# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill, rename and write before each call of the system: each name keeps its content, and no file is lost."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FrameType

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.models import hard_links, model_tree

CONTENT, FOREIGN = b"a" * 3_000_000, b"b" * 3_000_000
MODULES = ("posix", "fcntl")


def make_tree(root: Path) -> Path:
    """Make a tree with two equal files, and return it."""
    (root / "loras").mkdir(parents=True)
    for name in ("one", "loras/two"):
        (root / name).write_bytes(CONTENT)
    return root


def read_file(root: Path, name: str) -> model_tree.File:
    return model_tree.make_file(name, os.stat(root / name))


def link(root: Path) -> None:
    top = model_tree.open_top(str(root))
    try:
        hard_links.replace_by_link(top, read_file(root, "one"), read_file(root, "loras/two"))
    finally:
        os.close(top)


def link_with_fault(root: Path, number: int, happens: Callable[[], object]) -> tuple[bool, int]:
    """Link in a process in which something happens before the call of this number. Return whether it did, and the end.

    The end is 0 where the link was made, 1 where it was not, and the number of a signal as a negative number.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        count, code = 0, 1

        def watch(_frame: FrameType, event: str, called: object) -> None:
            nonlocal count
            if event == "c_call" and isinstance(called, BuiltinFunctionType):
                count += (called.__module__ or type(called.__self__).__module__) in MODULES
                if count == number:
                    sys.setprofile(None)
                    os.write(writer, b"x")
                    happens()

        try:
            sys.setprofile(watch)
            link(root)
            code = 0
        except hard_links.NotLinked:
            code = 1
        finally:
            os._exit(code)
    os.close(writer)
    status = os.waitpid(pid, 0)[1]
    with open(reader, "rb") as stream:
        happened = stream.read() == b"x"
    return happened, os.waitstatus_to_exitcode(status)


def finish(root: Path) -> list[bool]:
    """Bring to an end what is left in a tree; return what each part came to."""
    top = model_tree.open_top(str(root))
    parts: list[str] = []
    list(model_tree.scan(top, lambda path, reason: parts.append(path)))
    try:
        return [hard_links.finish(top, part) for part in parts]
    finally:
        os.close(top)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_name_becomes_a_link_and_the_source_stays(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "tree")
    before = os.stat(root / "one")
    link(root)
    after = os.stat(root / "loras/two")
    assert (after.st_ino, after.st_nlink, after.st_mtime_ns) == (before.st_ino, 2, before.st_mtime_ns)
    assert contents(root) == {"one": CONTENT, "loras/two": CONTENT}


def test_kill_before_every_call_leaves_each_name_with_its_content(tmp_path: Path) -> None:
    number = 0
    happened = True
    while happened:
        number += 1
        root = make_tree(tmp_path / str(number))
        happened, _ = link_with_fault(root, number, lambda: os.kill(os.getpid(), signal.SIGKILL))
        assert contents(root).items() >= {"one": CONTENT, "loras/two": CONTENT}.items(), number
        assert all(finish(root)), number
        assert contents(root) == {"one": CONTENT, "loras/two": CONTENT}, number
    assert number > 20


def test_file_that_gets_the_name_before_any_call_is_never_lost(tmp_path: Path) -> None:
    number = 0
    happened = True
    while happened:
        number += 1
        root = make_tree(tmp_path / str(number))
        (root / "new").write_bytes(FOREIGN)
        happened, _ = link_with_fault(root, number, partial(os.rename, root / "new", root / "loras/two"))
        expected = {"one": CONTENT, "loras/two": FOREIGN} if happened else {"new": FOREIGN}
        assert contents(root).items() >= expected.items(), number
    assert number > 20


def test_bytes_that_are_written_before_any_call_are_never_lost(tmp_path: Path) -> None:
    """Write without waiting: the kernel refuses the writer for as long as the bytes are compared, or it wins."""

    def write(root: Path) -> None:
        try:
            descriptor = os.open(root / "loras/two", os.O_WRONLY | os.O_NONBLOCK)
        except BlockingIOError:
            return
        os.write(descriptor, b"written")
        os.close(descriptor)
        (root / "wrote").touch()

    number = 0
    refused = 0
    happened = True
    while happened:
        number += 1
        root = make_tree(tmp_path / str(number))
        happened, _ = link_with_fault(root, number, partial(write, root))
        wrote = (root / "wrote").exists()
        assert (root / "loras/two").read_bytes().startswith(b"written") is wrote, number
        refused += happened and not wrote
    assert refused > 5


@pytest.mark.parametrize("name", ["one", "loras/two"])
def test_file_that_is_open_for_writing_is_left_alone(tmp_path: Path, name: str) -> None:
    root = make_tree(tmp_path / "tree")
    inodes = [os.stat(root / one).st_ino for one in ("one", "loras/two")]
    with (root / name).open("r+b"), pytest.raises(hard_links.NotLinked, match="a program writes to it"):
        link(root)
    assert [os.stat(root / one).st_ino for one in ("one", "loras/two")] == inodes


def test_file_with_other_bytes_is_left_alone(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "tree")
    (root / "one").write_bytes(CONTENT[:-1] + b"c")
    with pytest.raises(hard_links.NotLinked, match="the bytes differ"):
        link(root)
    assert contents(root) == {"one": CONTENT[:-1] + b"c", "loras/two": CONTENT}


def test_hidden_name_with_other_bytes_stays_since_only_a_person_knows_which_are_right(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "tree")
    name = f"loras/{hard_links.make_part_name('two')}"
    (root / name).write_bytes(FOREIGN)
    assert finish(root) == [False]
    assert contents(root) == {"one": CONTENT, "loras/two": CONTENT, name: FOREIGN}


def test_hidden_name_whose_file_is_gone_stays(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "tree")
    part = root / "loras" / hard_links.make_part_name("gone")
    part.write_bytes(FOREIGN)
    assert finish(root) == [False]
    assert part.read_bytes() == FOREIGN
