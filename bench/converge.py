# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a second run of `site.yml` with that of an older version: tasks, commands over SSH, seconds.

Both sides run on the lab's three machines, one after the other: the older version deploys a studio and runs its own
`site.yml` again; this version takes the studio over and runs its own. Nothing changes in a second run, so what is
measured is what a converge costs by itself. Runs alone in half an hour; prints both sides and their ratios as JSON.
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable
from typing import TypedDict

from tests.faults.old_studio import OLD_VERSION, deploy_old_version, run_in_old_version
from tests.support.lab.driver import run_driver_json, run_playbook
from tests.support.lab.machines import LAB, reset_machines

ROUNDS = 2


class Cost(TypedDict):
    """What one run costs. `task_runs` counts a task once for each host; `ssh_commands` counts copies of files too."""

    tasks: int
    task_runs: int
    ssh_commands: int
    seconds: float


def count(output: str, seconds: float) -> Cost:
    """Return the cost of a run from what `ansible-playbook -vvv` printed. Fail if the run changed anything."""
    recap = re.findall(r"^\S+\s+: ok=(\d+)\s+changed=(\d+)", output, re.MULTILINE)
    assert recap, output[-2000:]
    assert not any(int(changed) for _, changed in recap), output[-2000:]
    return Cost(
        tasks=len(re.findall(r"^TASK \[", output, re.MULTILINE)),
        task_runs=sum(int(ok) for ok, _ in recap),
        ssh_commands=len(re.findall(r"SSH: EXEC ", output)),
        seconds=seconds,
    )


def measure(run: Callable[[], str]) -> Cost:
    """Run a converged playbook several times. Return its cost, with the median of the seconds."""
    costs = []
    for _ in range(ROUNDS):
        start = time.monotonic()
        costs.append(count(run(), time.monotonic() - start))
    return costs[0] | {"seconds": statistics.median(cost["seconds"] for cost in costs)}


def run_old() -> str:
    """Run the older version's `site.yml`. Return what it printed."""
    password = f"--become-password-file={LAB / 'sudo_password'}"
    return run_in_old_version("ansible-playbook", "-i", "inventories/demo", password, "playbooks/site.yml", "-vvv")


def run_new() -> str:
    """Run this version's `site.yml`. Return what it printed."""
    done = run_playbook("site", "-vvv")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def main() -> None:
    """Measure both sides."""
    reset_machines()
    deploy_old_version()
    old = measure(run_old)
    code, result = run_driver_json("deploy", "--yes")
    assert code == 0, result
    new = measure(run_new)
    ratios = {name: round(new[name] / old[name], 2) for name in ("tasks", "task_runs", "ssh_commands", "seconds")}
    print(json.dumps({"benchmark": "converge", "before": OLD_VERSION, "old": old, "new": new, "ratio": ratios}))


if __name__ == "__main__":
    main()
