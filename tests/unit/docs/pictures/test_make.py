# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the pictures of the documents are what the driver prints now."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from docs.pictures import make

COLLECTION = make.ROOT / "collections/ansible_collections/noslop/studio"
PICTURES = make.draw_all()


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_what_the_driver_prints_now(name: str) -> None:
    assert (make.PICTURES / name).read_text("utf-8") == PICTURES[name], "draw it anew: make pictures"


def test_pictures_are_those_that_are_drawn() -> None:
    assert {path.name for path in make.PICTURES.glob("*.svg")} == set(PICTURES)


def test_same_data_gives_the_same_bytes_whatever_the_environment_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"NO_COLOR": "1", "COLUMNS": "40", "TERM": "dumb", "FORCE_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    assert make.draw_all() == PICTURES


@pytest.mark.parametrize("name", PICTURES)
def test_picture_shows_whole_lines_and_loads_nothing(name: str) -> None:
    root = ElementTree.fromstring(PICTURES[name])  # noqa: S314 - our own file
    assert "".join(root.itertext()).strip()
    # Addresses of the text are no sources of fonts or pictures.
    assert not re.search(r"url\((?!#)|href=|@import|@font-face", PICTURES[name])
    # A line that is wider than the picture would be cut.
    widths = [len("".join(text.itertext())) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert max(widths) <= make.WIDTH


def test_deployment_is_shown_in_the_middle() -> None:
    assert make.RUNNING in json.dumps(make.read_data("deploy"))
    text = re.sub(r"<[^>]+>", "", PICTURES["deploy.svg"]).replace("&#160;", " ")
    assert "3/5 configure: configuring the hosts" in text
    assert "5/5" not in text


def test_tasks_that_the_picture_of_the_deployment_shows_are_in_the_collection() -> None:
    sources = [
        path.read_text("utf-8") for part in ("playbooks", "roles") for path in (COLLECTION / part).rglob("*.yml")
    ]
    names = {name.strip("\"'") for text in sources for name in re.findall(r"^\s*-? ?name: (.+)$", text, re.MULTILINE)}
    phase = make.read_data("deploy")["phases"][-1]
    last = {host: task["task"] for task in phase["tasks"] for host in task["hosts"]}
    assert last
    # Ansible puts the role and the file in front.
    assert {task for task in last.values() if not {task.split(" : ")[-1], task.split(" | ")[-1]} & names} == set()


@pytest.mark.parametrize("name", [Path(name).stem for name in PICTURES])
def test_data_says_where_it_is_from(name: str) -> None:
    data = json.loads((make.DATA / f"{name}.json").read_text("utf-8"))
    assert re.match(r"(Recorded|Made by hand): ", data["origin"])


def line(kind: str, second: int, host: str = "", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    time = f"2026-01-01T00:00:{second:02}+00:00"
    return {"phase": "services", "kind": kind, "time": time, "host": host, "task": "a : Install x", **more}


def test_record_of_a_run_becomes_the_data_of_the_picture() -> None:
    events = [
        line("play", 0),
        line("task", 1),
        line("start", 1, "one"),
        line("start", 1, "two"),
        line("ok", 3, "one", changed=True),
        line("skipped", 4, "two"),
        line("task", 5, task="b"),
        line("start", 5, "one", task="b"),
        line("ok", 9, "one", task="b"),
    ]
    tasks = [
        {"task": "a : Install x", "seconds": 3.0, "hosts": {"one": "changed", "two": "skipped"}},
        {"task": "b", "seconds": 0.0, "hosts": {"one": "running"}},
    ]
    assert make.shorten_record(events, "b") == {"phases": [{"name": "services", "tasks": tasks}]}
    with pytest.raises(ValueError, match="no host starts a task"):
        make.shorten_record(events, "c")
