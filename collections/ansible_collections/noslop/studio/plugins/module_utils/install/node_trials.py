# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import custom nodes in trial runs of ComfyUI, and find those that raise, crash, hang or write outside.

All nodes are tried at once first. Only where that fails is each tried alone, and the ones that passed once more
together. How a run is started, and how it is confined, is the caller's.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ansible_collections.noslop.studio.plugins.module_utils.checks import check
from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths
from ansible_collections.noslop.studio.plugins.module_utils.install import builds, import_watch

RESULT_LIMIT_BYTES = 4 * 1024 * 1024
LOG_LINES = 15
_STATE = ("user", "input", "output", "temp")


class TrialError(Exception):
    """A trial shows nothing about single nodes. The message is for the user who has to repair it."""


@dataclass(frozen=True)
class Trial:
    """The ComfyUI that imports the nodes.

    ``program`` is its main.py, ``nodes`` the directory that it imports them from, and ``timeout_s`` how long one run
    may take.
    """

    program: str
    python: str
    nodes: str
    timeout_s: float


@dataclass
class Run:
    """The result of one run. ``code`` is negative where a signal ended it, as in :mod:`subprocess`."""

    code: int
    hung: bool
    output: str
    writes: list[str] = field(default_factory=list)

    def find_failed(self, names: Sequence[str]) -> dict[str, str]:
        """Return the nodes that ComfyUI reported as failed or that wrote outside, with the reason."""
        failed = {}
        lines = [line.rstrip() for line in self.output.splitlines()]
        for line in lines:
            name = line.rpartition(": ")[2].rpartition("/")[2]
            if "(IMPORT FAILED)" in line and name in names:
                failed[name] = f"raises at its import: {_find_error(lines, name)}"
        for line in self.writes:
            name, __, path = line.partition("\t")
            if name in names:
                failed[name] = f"writes to {check.shorten(path)} at its import"
        return failed

    def describe_end(self, timeout_s: float) -> str:
        """Return how the run ended where it did not end by itself; empty where it did."""
        if self.hung:
            return f"does not finish its import within {timeout_s:g} s"
        if self.code < 0:
            return f"crashes at its import: {_signal_name(-self.code)}"
        return f"ends ComfyUI at its import, with exit code {self.code}" if self.code else ""

    def last_lines(self) -> str:
        """Return the end of the log."""
        return "\n".join(self.output.strip().splitlines()[-LOG_LINES:])


#: Runs a program with these arguments, with only the named nodes in place.
Start = Callable[[list[str], Sequence[str]], None]


def find_failing_nodes(trial: Trial, names: Sequence[str], build: builds.Build, start: Start) -> dict[str, str]:
    """Import the nodes, and return those that fail with the reason.

    Raises:
        TrialError: ComfyUI itself does not start, or nodes that work alone do not work together.
    """
    together = run_trial(trial, names, build, start)
    if _passes(together, trial, names):
        return {}
    alone = run_trial(trial, [], build, start)
    if alone.describe_end(trial.timeout_s):
        raise TrialError(
            "ComfyUI itself does not start with its packages, so that no custom node can be tried. Nothing was "
            f"changed for the service. The last lines of its log:\n{alone.last_lines()}"
        )
    failed: dict[str, str] = {}
    for name in names:
        run = run_trial(trial, [name], build, start)
        reason = run.find_failed([name]).get(name) or run.describe_end(trial.timeout_s)
        if reason:
            failed[name] = reason
    rest = [name for name in names if name not in failed]
    again = together if not failed else run_trial(trial, rest, build, start)
    if not _passes(again, trial, rest):
        failed.update(_explain_together(again, trial, rest))
    return failed


def run_trial(trial: Trial, names: Sequence[str], build: builds.Build, start: Start) -> Run:
    """Run ComfyUI once with these nodes. Raises TrialError when it cannot be run."""
    for name in (*_STATE, "trial.json", import_watch.RESULT, import_watch.WRITES, import_watch.LOG):
        safe_paths.remove_tree(os.path.join(build.directory, name))
    words = ["--quick-test-for-ci", "--cpu", "--disable-auto-launch", "--disable-api-nodes"]
    for name in _STATE:
        path = os.path.join(build.directory, name)
        safe_paths.make_directory(path, build.account.uid, build.account.gid, 0o700)
        words += [f"--{name}-directory", path]
    words += ["--database-url", f"sqlite:///{build.directory}/user/comfyui.db"]
    about = {
        "directory": build.directory,
        "program": trial.program,
        "words": words,
        "nodes": trial.nodes,
        "timeout_s": trial.timeout_s,
    }
    watch = build.write("import_watch.py", inspect.getsource(import_watch).encode())
    start([trial.python, watch, build.write("trial.json", json.dumps(about).encode())], names)
    try:
        result = json.loads(
            safe_paths.read_file(os.path.join(build.directory, import_watch.RESULT), RESULT_LIMIT_BYTES)
        )
        return Run(int(result["code"]), bool(result["hung"]), str(result["output"]), list(map(str, result["writes"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrialError(f"The trial of the custom nodes ended without a result: {error}.") from error


def _passes(run: Run, trial: Trial, names: Sequence[str]) -> bool:
    return not run.describe_end(trial.timeout_s) and not run.find_failed(names)


def _explain_together(run: Run, trial: Trial, names: Sequence[str]) -> dict[str, str]:
    """Return the nodes that fail only beside others. Raises TrialError where the run does not name them."""
    failed = run.find_failed(names)
    if not failed:
        raise TrialError(
            f"Each of the custom nodes {check.enumerate_words(names)} works alone, and together ComfyUI "
            f"{run.describe_end(trial.timeout_s)}. Take one of them out of noslop_custom_nodes. The last lines of the "
            f"log:\n{run.last_lines()}"
        )
    return {name: f"works alone, and beside the other nodes {reason}" for name, reason in failed.items()}


def _find_error(lines: Sequence[str], name: str) -> str:
    """Return the last line of the traceback of a node; ComfyUI reports its path after it (nodes.py)."""
    for number, line in enumerate(lines):
        if line.startswith("Cannot import ") and f"/{name} " in line:
            before = [one for one in lines[:number] if one.strip()]
            return check.shorten(before[-1]) if before else check.shorten(line)
    return "its log has no traceback"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
