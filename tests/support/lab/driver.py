"""Run the driver and the root playbooks on the demo studio, as a user does."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

from tests.support.lab.machines import LAB, ROOT

INVENTORY = ROOT / "inventories" / "demo"


def driver(*words: str, timeout_s: float = 1800) -> subprocess.CompletedProcess[str]:
    """Run `noslop-driver`; the caller checks the exit code."""
    return _run("noslop-driver", *words, timeout_s=timeout_s)


def driver_json(*words: str, timeout_s: float = 1800) -> tuple[int, dict[str, Any]]:
    """Run `noslop-driver ... --json` on the demo studio; return its exit code and its result."""
    password = ("--become-pass-file", str(LAB / "sudo_password"))
    done = driver(*words, "--inventory", str(INVENTORY), *password, "--json", timeout_s=timeout_s)
    assert done.stdout.lstrip().startswith("{"), f"no JSON: {done.stdout}{done.stderr}"
    result: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, result


def checks(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the checks in the JSON result of `verify`."""
    verification = result["verification"]
    assert verification, result
    checks: list[dict[str, Any]] = verification["checks"]
    return checks


def changed_by_phase(result: dict[str, Any]) -> dict[tuple[str, str], int]:
    """Return the number of changed tasks by phase and host, from the JSON result of `deploy`."""
    return {
        (phase["phase"], host): stats["changed"] for phase in result["phases"] for host, stats in phase["hosts"].items()
    }


def playbook(name: str, *words: str, timeout_s: float = 1800) -> subprocess.CompletedProcess[str]:
    """Run one of the root playbooks on the demo studio with plain `ansible-playbook`."""
    password = f"--become-password-file={LAB / 'sudo_password'}"
    return _run(
        "ansible-playbook", "-i", str(INVENTORY), password, f"playbooks/{name}.yml", *words, timeout_s=timeout_s
    )


def changed_by_host(output: str) -> dict[str, int]:
    """Return the number of changed tasks by host, from the recap of `ansible-playbook`."""
    return {host: int(count) for host, count in re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", output, re.MULTILINE)}


def _run(*command: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_COLOR": "1"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
