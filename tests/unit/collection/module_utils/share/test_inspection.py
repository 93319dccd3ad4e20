# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test verification's work on a share, with a real directory."""

from __future__ import annotations

import os
import time
from collections import UserDict
from collections.abc import ItemsView
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.share import inspection

RUN = "0123456789abcdef"


def test_nonce_is_read_by_others_and_removed(tmp_path: Path) -> None:
    nonce, _ = inspection.make_file_names("server", RUN)

    written = inspection.write_nonce(str(tmp_path), nonce, "secret")
    problems = inspection.read_nonces(str(tmp_path), {"server": {"file": nonce, "content": "secret"}}, 0)
    inspection.clean(str(tmp_path), RUN)

    assert (written["uid"], written["gid"]) == (os.getuid(), os.getgid())
    assert abs(written["clock_s"]) < 60
    assert problems == {"server": ""}
    assert list(tmp_path.iterdir()) == []


def test_missing_or_wrong_nonce_is_a_problem(tmp_path: Path) -> None:
    inspection.write_nonce(str(tmp_path), "a.1", "one")
    expected = {"a": {"file": "a.1", "content": "two"}, "b": {"file": "b.1", "content": "two"}}

    problems = inspection.read_nonces(str(tmp_path), expected, 0)

    assert problems["a"].endswith("holds something else than was written")
    assert problems["b"].endswith("No such file or directory")


def test_late_nonce_is_waited_for(tmp_path: Path) -> None:
    class WrittenBeforeSecondRead(UserDict[str, dict[str, str]]):
        looks = 0

        def items(self) -> ItemsView[str, dict[str, str]]:
            self.looks += 1
            if self.looks == 2:
                inspection.write_nonce(str(tmp_path), "a.1", "one")
            return super().items()

    expected = WrittenBeforeSecondRead({"a": {"file": "a.1", "content": "one"}})

    assert inspection.read_nonces(str(tmp_path), expected, 60) == {"a": ""}
    assert expected.looks == 2


def test_cleaning_keeps_files_of_running_verifications(tmp_path: Path) -> None:
    models = tmp_path / "checkpoints"
    models.mkdir()
    (models / "model.safetensors").write_bytes(b"m")
    own_nonce, own_probe = inspection.make_file_names("worker1", RUN)
    other_nonce, other_probe = inspection.make_file_names("server", "fedcba9876543210")
    old_nonce, old_probe = inspection.make_file_names("gone", "00000000")
    for nonce in (own_nonce, other_nonce, old_nonce):
        inspection.write_nonce(str(tmp_path), nonce, "x")
    for probe in (own_probe, other_probe, old_probe):
        assert inspection.write_probe(str(tmp_path), probe)
    long_ago = time.time() - inspection.STALE_S - 60
    for old in (tmp_path / inspection.DIRECTORY / old_nonce, models / old_probe, models / "model.safetensors"):
        os.utime(old, (long_ago, long_ago))

    inspection.clean(str(tmp_path), RUN)

    assert [path.name for path in (tmp_path / inspection.DIRECTORY).iterdir()] == [other_nonce]
    assert sorted(path.name for path in models.iterdir()) == ["model.safetensors", other_probe]


def test_write_leaves_only_the_nonce_and_cleaning_removes_remains(tmp_path: Path) -> None:
    nonce, _ = inspection.make_file_names("server", RUN)
    inspection.write_nonce(str(tmp_path), nonce, "x")
    assert [path.name for path in tmp_path.iterdir()] == [inspection.DIRECTORY]

    (tmp_path / f"{inspection.DIRECTORY}.{nonce}").mkdir()
    inspection.clean(str(tmp_path), RUN)
    assert list(tmp_path.iterdir()) == []


def test_cleaning_without_a_run_removes_old_files_only(tmp_path: Path) -> None:
    inspection.write_nonce(str(tmp_path), "server.1234", "x")

    assert inspection.clean(str(tmp_path), "") == []


def test_probe_is_a_valid_safetensors_file(tmp_path: Path) -> None:
    assert not inspection.write_probe(str(tmp_path), "p.safetensors")
    (tmp_path / "checkpoints").mkdir()

    assert inspection.write_probe(str(tmp_path), "p.safetensors")

    content = (tmp_path / "checkpoints" / "p.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert content[8:] == b"{}"
    assert length == len(content[8:])


@pytest.mark.parametrize("host", ["a/b", "..", "host name", "wörker"])
def test_special_characters_in_host_names_are_replaced(host: str, tmp_path: Path) -> None:
    nonce, probe = inspection.make_file_names(host, RUN)

    inspection.write_nonce(str(tmp_path), nonce, "x")

    assert "/" not in nonce + probe
    assert (tmp_path / inspection.DIRECTORY / nonce).is_file()


def test_share_is_inspected(tmp_path: Path) -> None:
    (tmp_path / ".noslop-share").write_text("{}")

    inspected = inspection.inspect(str(tmp_path))

    assert inspected["marker"] == {"text": "{}", "error": ""}
    assert not inspected["is_mount_point"]
    assert tmp_path.is_relative_to(inspected["mount"]["point"])
    assert inspected["free_bytes"] > 0


def test_refused_write_has_a_reason_and_accepted_write_leaves_nothing(tmp_path: Path) -> None:
    assert inspection.try_to_write(str(tmp_path), "a.1") == {"refused_write": ""}
    assert list(tmp_path.iterdir()) == []

    # No directory can be made there, not even by root.
    assert inspection.try_to_write("/proc/self", "a.1")["refused_write"]
