# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one host's part of each step of a probe, as the accounts that own the shares."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import host_rules
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.module_utils.host import state
from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import Mount, is_below, parents, read_mounts
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import (
    Account,
    Outcome,
    run_all,
    run_one,
)
from ansible_collections.noslop.studio.plugins.module_utils.probe import (
    directories,
    directory,
    features,
    meeting,
    speed,
)
from ansible_collections.noslop.studio.plugins.module_utils.probe.directories import Place
from ansible_collections.noslop.studio.plugins.module_utils.share import markers, path_rules

#: A directory that is not the share itself.
PARENT_MODE = 0o755
MARKER_MODE = 0o444
#: The directories are looked at by root, whom a file server that is away blocks too.
LOOK_S = 60.0


def test_share(path: str, name: str) -> features.Features:
    """Test what this host can do on a share, in a directory of this name that is removed again. Runs as its account.

    Raises:
        OSError: not even a file can be written.
    """
    directory.make(path, name)
    try:
        with directory.open_path(path) as share, directory.open_below(share, name) as inside:
            return features.test_features(inside)
    finally:
        directory.remove(path, name)


class StorageSteps:
    """The shares on one host. ``params`` are the module's parameters."""

    def __init__(self, params: dict[str, Any], *, check_mode: bool) -> None:
        self._params = params
        self._check_mode = check_mode
        self._root: str = params["root"]
        self._name = directory.make_name(params["studio_id"])
        self._places = [Place(share["name"], share["path"], share["uid"], share["gid"]) for share in params["shares"]]
        self._accounts = {
            place.name: Account(place.uid, place.gid, tuple({place.gid, params["group_gid"]})) for place in self._places
        }

    # prepare

    def prepare(self) -> dict[str, Any]:
        """Make the directories, and that of the probe on each file system."""
        shares = [{"name": place.name, "path": place.path} for place in self._places]
        problems = path_rules.find_path_problems(self._root, shares)
        if problems:
            return {"problems": problems}
        table = read_mounts()
        outcome = run_one(lambda: self._make_directories(table), None, LOOK_S)
        if outcome.error:
            return {"problems": [f"{self._root}: {outcome.error}. Look whether its file server answers."]}
        result: dict[str, Any] = outcome.value
        if result["problems"] or self._check_mode:
            return {**result, "probed": [], "run_id": "", "changed": bool(result["made"])}
        devices = self._run(self._places, lambda place: os.stat(place.path).st_dev)
        result["problems"] += [f"{name}: {one.error}" for name, one in devices.items() if one.error]
        first: dict[int, str] = {}
        for place in self._places:
            first.setdefault(devices[place.name].value, place.name)
        probed = self._select(list(first.values()))
        if not result["problems"]:
            for name, one in self._run(probed, self._make_probe).items():
                result["problems"] += [self._describe_refusal(name, one.error)] if one.error else []
        return {
            **result,
            "probed": [place.name for place in probed],
            "run_id": secrets.token_hex(8),
            "changed": bool(result["made"]),
        }

    def _make_directories(self, table: list[Mount]) -> dict[str, Any]:
        problems: list[str] = []
        for path in [self._root, *(place.path for place in self._places)]:
            problems += markers.find_directory_problems(path) + markers.find_missing_mounts(path, table)
        for place in self._places:
            problem = directories.find_mount_problem(place.path, table) or self._find_foreign_marker(place)
            problems += [problem] if problem else []
        made: list[str] = []
        if not problems:
            problems += self._find_room()
        if not problems:
            wrong = {place.name: directories.find_missing(place) for place in self._places}
            todo = [place for place in self._places if wrong[place.name]]
            made = [place.path for place in todo]
            if not self._check_mode:
                for place in todo:
                    problem = self._make(place)
                    problems += [f"{place.path}: {problem}."] if problem else []
                if problems:
                    unfit = [place for place in todo if any(one.startswith(f"{place.path}:") for one in problems)]
                    problems.append(directories.describe_preparation(unfit, self._root, table))
        return {"problems": list(dict.fromkeys(problems)), "made": made}

    def _find_foreign_marker(self, place: Place) -> str:
        """Return why the share belongs to another studio; empty where root cannot see that, and the account will."""
        try:
            text = markers.read(os.path.join(place.path, studio.MARKER))
        except OSError:
            return ""
        problem = markers.find_problem(text, self._params["studio_id"], place.name)
        return f"{place.path}: {problem}" if problem else ""

    def _make(self, place: Place) -> str:
        for parent in reversed(parents(place.path)):
            if is_below(parent, self._root) and not os.path.isdir(parent):
                above = directories.make_parent(parent, PARENT_MODE)
                if above:
                    return above
        return directories.make(place)

    def _find_room(self) -> list[str]:
        checks = Checks("")
        for paths, free_bytes in state.read_free_space(place.path for place in self._places):
            host_rules.judge_free_space(checks, paths, free_bytes, self._params["min_free_gb"], check="storage.room")
        needed = f"{self._params['min_free_gb']:g} GB are needed"
        return [f"{one['seen']}, and {needed}: {one['todo']}." for one in checks.list if not one["ok"]]

    def _make_probe(self, place: Place) -> None:
        directory.remove_all(place.path, self._params["studio_id"])
        directory.make(place.path, self._name)

    def _describe_refusal(self, name: str, error: str) -> str:
        place = self._select([name])[0]
        return (
            f"{place.path}: uid {place.uid} could not make the directory of a probe there: {error}. Let this account "
            "write to it on the file server."
        )

    # measure, meet, clean

    def measure(self) -> dict[str, Any]:
        """Test each file system as the account that owns the share on it."""
        outcomes = self._run(self._select(self._params["probed"]), self._measure_place)
        looked = run_one(self._find_root_errors, None, LOOK_S)
        return {
            "host": self._params["host"],
            "measured": {name: one.value or {"error": one.error} for name, one in outcomes.items()},
            "root_errors": looked.value or {place.name: looked.error for place in self._places},
        }

    def _measure_place(self, place: Place) -> dict[str, Any]:
        party = self._party(place.name)
        own = f"own.{party.number(party.host)}"
        with directory.open_path(place.path) as share, directory.open_below(share, self._name) as probe:
            os.mkdir(own, 0o700, dir_fd=probe)
            with directory.open_below(probe, own) as inside:
                tested = features.test_features(inside)
                measured = speed.measure_speed(inside)
            meeting.write_greeting(probe, party, links=not tested["hard_links"], symlinks=not tested["symlinks"])
        return {"features": tested, "speed": measured}

    def _find_root_errors(self) -> dict[str, str]:
        errors: dict[str, str] = {}
        for place in self._places:
            try:
                os.stat(os.path.join(place.path, "."))
                errors[place.name] = ""
            except OSError as error:
                errors[place.name] = f"root: {error.strerror} ({place.path})"
        return errors

    def meet(self) -> dict[str, Any]:
        """Test each file system together with the other hosts."""
        outcomes = self._run(self._select(self._params["probed"]), self._meet_place)
        return {"met": {name: one.value or {"error": one.error} for name, one in outcomes.items()}}

    def _meet_place(self, place: Place) -> dict[str, Any]:
        with directory.open_path(place.path) as share, directory.open_below(share, self._name) as probe:
            return {"meeting": meeting.Meet(probe, self._party(place.name)).run()}

    def clean(self) -> dict[str, Any]:
        """Remove the directory of the probe. One that cannot be removed is removed by the next probe."""
        self._run(self._select(self._params["probed"]), lambda place: directory.remove(place.path, self._name))
        return {}

    # mark

    def mark(self) -> dict[str, Any]:
        """Write the marker of each share that has none, as the account that owns it."""
        outcomes = self._run(self._places, self._mark_place)
        problems = [f"{self._select([name])[0].path}: {one.error}" for name, one in outcomes.items() if one.error]
        made = [path for one in outcomes.values() for path in (one.value or {}).get("made", [])]
        problems += [text for one in outcomes.values() for text in (one.value or {}).get("problems", [])]
        return {"problems": problems, "made": made, "changed": bool(made)}

    def _mark_place(self, place: Place) -> dict[str, list[str]]:
        marker = os.path.join(place.path, studio.MARKER)
        made: list[str] = []
        if os.path.lexists(marker):
            text = markers.read(marker)
        else:
            made = [marker]
            text = markers.compose(self._params["studio_id"], place.name)
            if not self._check_mode:
                with directory.open_path(place.path) as share:
                    text = markers.publish(share, studio.MARKER, text, place.uid, place.gid, MARKER_MODE)
        problem = markers.find_problem(text, self._params["studio_id"], place.name)
        return {"made": [] if problem else made, "problems": [f"{place.path}: {problem}"] if problem else []}

    def _party(self, share: str) -> meeting.Party:
        params = self._params
        tested = {host: measured.get(share, {}).get("features") for host, measured in params["peers"].items()}
        present = {host: own for host, own in tested.items() if own}
        return meeting.Party(
            host=params["host"],
            hosts=params["hosts"],
            run_id=params["run_id"],
            present=list(present),
            linking=[host for host, own in present.items() if not own["hard_links"]],
            symlinking=[host for host, own in present.items() if not own["symlinks"]],
            participants=[host for host in params["participants"] if host in present],
        )

    def _select(self, names: Sequence[str]) -> list[Place]:
        return [place for place in self._places if place.name in names]

    def _run(self, places: Sequence[Place], work: Callable[[Place], Any]) -> dict[str, Outcome]:
        """Run a function for each place as its account, all at once."""

        def make_work(place: Place) -> Callable[[], Any]:
            return lambda: work(place)

        works = {place.name: make_work(place) for place in places}
        return run_all(works, self._accounts, self._params["timeout"]) if works else {}
