# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what hosts see of each other, with a process for each host."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import run_all
from ansible_collections.noslop.studio.plugins.module_utils.probe import directory, meeting

HOSTS = ["server", "worker1", "worker2"]


def make_work(host: str, path: Path, participants: list[str]) -> Any:  # noqa: ANN401  # a function of no arguments
    def work() -> Any:  # noqa: ANN401  # a JSON value
        party = meeting.Party(
            host, HOSTS, "run", present=HOSTS, linking=HOSTS, symlinking=HOSTS, participants=participants
        )
        with directory.open_path(str(path)) as place:
            return meeting.Meet(place, party).run()

    return work


def greet(paths: dict[str, Path]) -> None:
    for host, path in paths.items():
        with directory.open_path(str(path)) as place:
            meeting.write_greeting(place, meeting.Party(host, HOSTS, "run"), links=True, symlinks=True)


def meet(paths: dict[str, Path], participants: list[str]) -> dict[str, meeting.Meeting]:
    outcomes = run_all({host: make_work(host, path, participants) for host, path in paths.items()}, None, 300)
    assert [one.error for one in outcomes.values() if one.error] == []
    return {host: one.value for host, one in outcomes.items()}


def test_hosts_in_one_directory_meet(tmp_path: Path) -> None:
    paths = dict.fromkeys(HOSTS, tmp_path)
    greet(paths)

    met = meet(paths, HOSTS)

    for host in HOSTS:
        others = [other for other in HOSTS if other != host]
        assert met[host]["content"] == dict.fromkeys(others, "")
        assert met[host]["links"] == dict.fromkeys(others, "")
        assert met[host]["owners"] == {other: [os.geteuid(), os.getegid(), meeting.MODE] for other in others}
        assert met[host]["absent"] == []
    assert sorted(number for one in met.values() for number in one["race"]["won"]) == list(range(meeting.RACE_NAMES))
    assert met["server"]["delays_s"].keys() == {"worker1", "worker2"}
    assert all(delay_s >= 0 for delay_s in met["server"]["delays_s"].values())
    assert met["server"]["replacing"]["renames"] > 0
    assert met["worker1"]["replacing"]["reads"] > 0
    assert met["worker1"]["replacing"]["torn"] == met["worker1"]["replacing"]["missing"] == 0
    assert met["server"]["locks"] == {"flock": "", "fcntl": ""}
    assert met["worker1"]["locks"] == met["worker2"]["locks"] == {"flock": "refused", "fcntl": "refused"}


def test_host_that_takes_no_part_still_reads_what_others_wrote(tmp_path: Path) -> None:
    paths = dict.fromkeys(HOSTS, tmp_path)
    greet(paths)

    met = meet(paths, HOSTS[:2])

    assert met["worker2"]["content"] == {"server": "", "worker1": ""}
    assert met["worker2"]["race"]["names"] == 0
    assert met["server"]["delays_s"].keys() == {"worker1"}


def test_changed_content_and_broken_links_are_reported(tmp_path: Path) -> None:
    paths = dict.fromkeys(HOSTS, tmp_path)
    greet(paths)
    (tmp_path / "link.1").unlink()
    (tmp_path / "link.1").write_text("other")
    (tmp_path / "symlink.1").unlink()
    (tmp_path / "symlink.1").symlink_to("elsewhere")

    met = meet({"server": tmp_path}, ["server"])

    assert met["server"]["links"] == {
        "worker1": "its hard link has another content; its symlink leads elsewhere",
        "worker2": "",
    }
