# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the rules of a probe: what is refused, what is a note with its consequence, and what passes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, Checks, is_note
from ansible_collections.noslop.studio.plugins.module_utils.probe import rules
from ansible_collections.noslop.studio.plugins.module_utils.probe.requirements import REQUIREMENTS, Place

PLACE = Place("projects", "/mnt/noslop/projects", "noslop", 2600, 2600)
GOOD: dict[str, Any] = {
    "features": {
        **{one.feature: "" for one in REQUIREMENTS},
        "no_replace": "",
        "times_off_ns": 0,
        "clock_s": 0.001,
        "owner": [2600, 2600],
    },
    "speed": {
        "free_bytes": 10**12,
        "inodes": 10**7,
        "free_inodes": 10**6,
        "small_files_s": 800.0,
        "write_bytes_s": 1e8,
        "read_bytes_s": 1e9,
    },
}
HOSTS = ("server", "worker")


def make_meeting(host: str) -> dict[str, Any]:
    other = HOSTS[1 - HOSTS.index(host)]
    leads = host == "server"
    return {
        "content": {other: ""},
        "owners": {other: [2600, 2600, 0o640]},
        "links": {other: ""},
        "absent": [],
        "delays_s": {"worker": 0.05} if leads else {},
        "race": {"names": 4, "won": [0, 2] if leads else [1, 3], "error": ""},
        "replacing": {
            "renames": 100 if leads else 0,
            "reads": 0 if leads else 500,
            "torn": 0,
            "missing": 0,
            "stale": 0,
            "error": "",
        },
        "locks": {"flock": "", "fcntl": ""} if leads else {"flock": "refused", "fcntl": "refused"},
    }


def judge(change: Callable[[dict[str, Any], dict[str, Any]], object] = lambda *__: None) -> list[Check]:
    """Judge a good file system after one change of what the worker measured and what both saw."""
    measured: dict[str, Mapping[str, Any]] = {host: copy.deepcopy(GOOD) for host in HOSTS}
    met: dict[str, Mapping[str, Any]] = {host: {"meeting": make_meeting(host)} for host in HOSTS}
    change(dict(measured), dict(met))
    checks = Checks("studio")
    rules.judge(checks, PLACE, measured, met)
    return checks.list


def failures(checks: list[Check]) -> dict[str, str]:
    return {one["check"]: one["seen"] for one in checks if not one["ok"]}


def notes(checks: list[Check]) -> dict[str, str]:
    return {one["check"]: one["seen"] for one in checks if is_note(one) and one["check"] != "probe.speed"}


def feature(name: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:  # noqa: ANN401  # of any type
    def change(measured: dict[str, Any], __: dict[str, Any]) -> None:
        measured["worker"]["features"][name] = value

    return change


def meeting(host: str, name: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:  # noqa: ANN401  # of any type
    def change(__: dict[str, Any], met: dict[str, Any]) -> None:
        current = met[host]["meeting"][name]
        met[host]["meeting"][name] = {**current, **value} if isinstance(current, dict) else value

    return change


def test_good_file_system_has_neither_failure_nor_note() -> None:
    checks = judge()

    assert failures(checks) == {}
    assert notes(checks) == {}
    assert {one["check"] for one in checks} >= {"probe.content", "probe.exclusive_across_hosts", "probe.locks"}


def test_every_host_has_a_line_with_room_and_speed() -> None:
    lines = {one["host"]: one["seen"] for one in judge() if one["check"] == "probe.speed"}

    assert lines.keys() == set(HOSTS)
    assert lines["worker"] == (
        "note: 1000.0 GB, 1000000 inodes free; 800 small files a second, a large file is written with 100 MB/s and "
        "read with 1000 MB/s, while 1 other did the same"
    )


REFUSED = [
    (feature("exclusive", "a second file"), "probe.exclusive", "two hosts would write to one file"),
    (feature("replace", "Operation not permitted"), "probe.replace", "Operation not permitted"),
    (feature("sync", "of a directory: Invalid argument"), "probe.sync", "a crash loses what was saved"),
    (feature("mapped", "No such device"), "probe.mapped", "no model can be loaded"),
    (feature("owner", [65534, 65534]), "probe.owner", "belongs to 65534:65534"),
    (feature("clock_s", -70.0), "probe.clock", "-70.000 s"),
    (meeting("worker", "content", {"server": "here.0: Permission denied"}), "probe.content", "Permission denied"),
    (meeting("worker", "owners", {"server": [0, 0, 0o640]}), "probe.owners", "the file of server belongs to 0:0"),
    (meeting("worker", "links", {"server": "its symlink leads elsewhere"}), "probe.links_of_others", "elsewhere"),
    (meeting("worker", "race", {"won": [0, 1, 3]}), "probe.exclusive_across_hosts", "1 of 4 names were made by two"),
    (meeting("worker", "race", {"won": [1]}), "probe.exclusive_across_hosts", "1 of 4 by no host"),
    (meeting("worker", "replacing", {"torn": 3}), "probe.replace_across_hosts", "3 of 500 times the file was torn"),
    (meeting("worker", "replacing", {"missing": 1}), "probe.replace_across_hosts", "1 of 500 times the file was miss"),
    (meeting("server", "delays_s", {"worker": 61.0}), "probe.delay", "61.0 s after it was written"),
    (meeting("server", "delays_s", {"worker": -1.0}), "probe.delay", "it was not seen"),
]


@pytest.mark.parametrize(("change", "check", "text"), REFUSED)
def test_what_a_studio_needs_is_refused_where_it_is_missing(
    change: Callable[[dict[str, Any], dict[str, Any]], None], check: str, text: str
) -> None:
    failed = failures(judge(change))

    assert failed.keys() == {check}
    assert text in failed[check]


NOTED = [
    (feature("hard_links", "Operation not permitted"), "probe.hard_links", "finals"),
    (feature("link_count", "counts 1"), "probe.link_count", "has to be sent again"),
    (feature("symlinks", "Operation not permitted"), "probe.symlinks", "cannot be installed"),
    (feature("case", "Case-A and case-a are one name"), "probe.case", "the second is refused"),
    (feature("long_names", "File name too long"), "probe.long_names", "longer names are refused"),
    (feature("unicode_names", "Invalid argument"), "probe.unicode", "such names"),
    (feature("normal_forms", "both forms are one name"), "probe.normal_forms", "a Mac"),
    (feature("characters", "Invalid argument"), "probe.characters", "are refused"),
    (feature("modes", "a file that was given 0640 has 0755"), "probe.modes", "the mount decides"),
    (feature("times_off_ns", 123_456_789), "probe.times", "123 ms off"),
    (feature("clock_s", 2.0), "probe.clock", "+2.000 s"),
    (meeting("worker", "owners", {"server": [2600, 2600, 0o755]}), "probe.modes", "mode 0755"),
    (meeting("worker", "race", {"error": "Operation not permitted"}), "probe.exclusive_across_hosts", "each by one"),
    (meeting("server", "delays_s", {"worker": 30.0}), "probe.delay", "30.0 s after it was written"),
    (meeting("worker", "locks", {"flock": "granted"}), "probe.locks", "worker got a lock that another host has"),
    (meeting("worker", "locks", {"fcntl": "No locks available"}), "probe.locks", "No locks available"),
    (meeting("server", "absent", ["worker"]), "probe.absent", "worker did not come"),
]


@pytest.mark.parametrize(("change", "check", "text"), NOTED)
def test_what_a_studio_can_do_without_is_a_note_with_its_consequence(
    change: Callable[[dict[str, Any], dict[str, Any]], None], check: str, text: str
) -> None:
    checks = judge(change)

    assert failures(checks) == {}
    assert notes(checks).keys() == {check}
    assert text in notes(checks)[check]


def test_file_system_without_links_and_without_careful_renames_is_refused() -> None:
    def change(measured: dict[str, Any], __: dict[str, Any]) -> None:
        measured["worker"]["features"] |= {"hard_links": "Function not implemented", "no_replace": "Invalid argument"}

    assert failures(judge(change)).keys() == {"probe.publish"}


def test_slow_file_system_is_a_note_that_says_what_is_slow() -> None:
    def change(measured: dict[str, Any], __: dict[str, Any]) -> None:
        measured["worker"]["speed"] |= {"small_files_s": 3.0, "read_bytes_s": 1e6}

    line = next(one["seen"] for one in judge(change) if one["check"] == "probe.speed" and one["host"] == "worker")
    assert "fewer than 20 small files a second" in line
    assert "less than 10 MB/s" in line


def test_host_that_could_not_measure_is_named_with_its_error() -> None:
    def change(measured: dict[str, Any], met: dict[str, Any]) -> None:
        measured["worker"].clear()
        measured["worker"]["error"] = "no answer within 300 s"
        met["worker"].clear()
        met["worker"]["error"] = "no answer within 300 s"

    failed = [one for one in judge(change) if not one["ok"]]
    assert {(one["check"], one["host"]) for one in failed} == {("probe.answered", "worker")}
    assert "uid 2600" in failed[0]["todo"]


def test_one_host_alone_is_judged_without_others() -> None:
    checks = Checks("studio")
    rules.judge(checks, PLACE, {"server": GOOD}, {})

    assert failures(checks.list) == {}
    assert "probe.content" not in {one["check"] for one in checks.list}
