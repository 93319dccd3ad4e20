"""Run the studio's own commands as a person runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from typing import NotRequired, cast

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check

from noslop_driver.commands.doctor_result import CauseData, FixData
from noslop_driver.commands.models.result import ModelResultData
from noslop_driver.commands.result import (
    JsonObject,
    LookData,
    RunData,
    ServiceAddress,
    WarmModelData,
)
from tests.support.lab.machines import LAB, ROOT
from tests.support.output_schema import check_output

INVENTORY = ROOT / "inventories" / "demo"
#: Variables of a test. Ansible reads the files of a group in the order of their names, so these come after studio.yml.
OWN_VARIABLES = INVENTORY / "group_vars" / "all" / "zz-own.yml"


class PrintedRun(RunData):
    """The object that `deploy`, `verify`, `doctor` and `teardown` print with `--json`."""

    command: str
    ok: bool
    exit_code: int
    error: str | None
    plan: NotRequired[JsonObject | None]
    look: NotRequired[LookData | None]
    addresses: NotRequired[list[ServiceAddress]]
    kept: NotRequired[list[str]]
    causes: NotRequired[list[CauseData]]
    not_examined: NotRequired[dict[str, str]]
    fixes: NotRequired[list[FixData]]
    models: NotRequired[list[ModelResultData]]
    warm: NotRequired[list[WarmModelData]]


def run_driver(*words: str, timeout_s: float = 1800) -> subprocess.CompletedProcess[str]:
    """Run `noslop-driver`. The caller checks the exit code."""
    return _run("noslop-driver", *words, timeout_s=timeout_s)


def run_driver_json(*words: str, timeout_s: float = 1800) -> tuple[int, PrintedRun]:
    """Run `noslop-driver ... --json` on the demo studio. Return the exit code and the printed object."""
    password = ("--become-pass-file", str(LAB / "sudo_password"))
    done = run_driver(*words, "--inventory", str(INVENTORY), *password, "--json", timeout_s=timeout_s)
    return done.returncode, parse_run(words, done)


def parse_run(words: Sequence[str], done: subprocess.CompletedProcess[str]) -> PrintedRun:
    """Parse what the driver printed with `--json`, and compare it with the schema of the command of these words."""
    assert done.stdout.lstrip().startswith("{"), f"no JSON: {done.stdout}{done.stderr}"
    output = json.loads(done.stdout)
    check_output(words, output)
    return cast(PrintedRun, output)


def read_checks(result: RunData) -> list[Check]:
    """Return the checks of a `verify`, from what it printed as JSON."""
    verification = result["verification"]
    assert verification, result
    return verification["checks"]


def count_changes_by_phase(result: RunData) -> dict[tuple[str, str], int]:
    """Return how many tasks changed something, by phase and host, from what `deploy` printed as JSON."""
    return {
        (phase["phase"], host): stats["changed"] for phase in result["phases"] for host, stats in phase["hosts"].items()
    }


def run_playbook(name: str, *words: str, timeout_s: float = 1800) -> subprocess.CompletedProcess[str]:
    """Run one of the root playbooks on the demo studio with plain `ansible-playbook`."""
    password = f"--become-password-file={LAB / 'sudo_password'}"
    return _run(
        "ansible-playbook", "-i", str(INVENTORY), password, f"playbooks/{name}.yml", *words, timeout_s=timeout_s
    )


def count_changes_by_host(output: str) -> dict[str, int]:
    """Return how many tasks changed something, by host, from the recap of `ansible-playbook`."""
    return {host: int(count) for host, count in re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", output, re.MULTILINE)}


def _run(*command: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_COLOR": "1"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
