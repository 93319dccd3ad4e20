# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run versions of ComfyUI on one container of the lab, and look at it from this computer."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.lab.containers import GATEWAY, INVENTORY
from tests.support.lab.machines import MIRROR_PORT, ROOT, Machine, wait_for

PLAYBOOK = Path(__file__).with_name("comfyui_host.yml")
CALLBACKS = Path(__file__).parents[1] / "ansible_callbacks"
UNIT = "noslop-comfyui.service"
RECORD = f"/var/lib/noslop/switches/{UNIT}/switch.json"
LOCK = f"/var/lib/noslop/switches/{UNIT}/lock"
USER = "/var/lib/noslop/comfyui/user"
PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "kept"}},
}


def make_variables(locks: Path) -> dict[str, object]:
    """Return the role's variables for versions of the stand-in, with a directory for lock files."""
    mirror = f"http://{GATEWAY}:{MIRROR_PORT}"
    return {
        "noslop_artifact_mirror": mirror,
        "comfyui_pip_index": f"{mirror}/pypi/simple/",
        "comfyui_commit": "",
        "comfyui_lock_dir": str(locks),
        "comfyui_start_timeout": 30,
    }


def request(host: Machine, path: str, body: object = None) -> bytes:
    """Send a request to ComfyUI on a host. Return the answer's body; fail the test for any status but 200."""
    connection = http.client.HTTPConnection(host.address, 8188, timeout=60)
    try:
        connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    assert answer.status == 200, f"{path} on {host.name}: {answer.status} {content[:500]!r}"
    return content


@dataclass(frozen=True)
class ComfyuiHost:
    """A container with ComfyUI. `variables` are those of the role, for every run."""

    machine: Machine
    variables: Mapping[str, object]

    def start_run(
        self, revision: str, *, storage: bool = False, kill_after: int = 0, **variables: object
    ) -> subprocess.Popen[str]:
        """Start a run of the role with a revision, and return it.

        `storage` makes accounts and shares first. The run is killed after `kill_after` tasks; 0 stands for never.
        """
        given = {**self.variables, **variables, "comfyui_revision": revision, "comfyui_with_storage": storage}
        killer = {
            "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
            "ANSIBLE_CALLBACKS_ENABLED": "kill_after",
            "NOSLOP_KILL_AFTER": str(kill_after),
        }
        words = [
            "--inventory",
            str(INVENTORY),
            "--extra-vars",
            json.dumps({**given, "comfyui_host": self.machine.name}),
        ]
        return subprocess.Popen(
            ["ansible-playbook", str(PLAYBOOK), *words],
            cwd=ROOT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_NOCOLOR": "1",
                **(killer if kill_after else {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, revision: str, **more: Any) -> tuple[int, str]:  # noqa: ANN401 - values of variables
        """Run the role with a revision. Return the exit code and what was printed."""
        with self.start_run(revision, **more) as process:
            output, _ = process.communicate()
        return process.returncode, output

    def converge(self, revision: str, **more: Any) -> int:  # noqa: ANN401 - values of variables
        """Run the role with a revision, and fail the test where it fails. Return the number of changed tasks."""
        code, output = self.run(revision, **more)
        assert code == 0, output
        recap = re.search(r"changed=(\d+)", output)
        assert recap, output
        return int(recap[1])

    def converge_killed(
        self,
        revision: str,
        step: int,
        *,
        after_kill: Callable[[], object] | None = None,
        **more: Any,  # noqa: ANN401 - values of variables
    ) -> list[str]:
        """Run the role again and again, each time killed `step` tasks later than before, until a run ends.

        Each run starts from what the one before left. So with a step of 1 every task is the last of one run, and is
        followed by what continues it.

        Args:
            revision: the revision of ComfyUI.
            step: a number of tasks.
            after_kill: called after each kill.
            more: what `run` accepts.

        Returns:
            The task that each killed run ended with.
        """
        killed: list[str] = []
        while True:
            code, output = self.run(revision, kill_after=step * (len(killed) + 1), **more)
            if code == 0:
                return killed
            assert code == -signal.SIGKILL, output
            killed.append(output.rpartition("killed after: ")[2].strip())
            if after_kill:
                after_kill()

    def request(self, path: str, body: object = None) -> bytes:
        """Send a request to ComfyUI. Return the answer's body; fail the test for any status but 200."""
        return request(self.machine, path, body)

    def read_version(self) -> str:
        """Return the version that ComfyUI names, after it answers."""

        def ask() -> str:
            try:
                return str(json.loads(self.request("/system_stats"))["system"]["comfyui_version"])
            except (OSError, http.client.HTTPException):
                return ""

        return wait_for("ComfyUI answers", ask, timeout_s=180)

    def render(self) -> str:
        """Run a workflow to its image. Return the name of the image's file."""
        sent = json.loads(self.request("/prompt", {"prompt": PROMPT, "prompt_id": str(uuid.uuid4())}))
        prompt_id = sent["prompt_id"]
        entry = wait_for(
            "the end of the workflow",
            lambda: json.loads(self.request(f"/history/{prompt_id}")).get(prompt_id),
            timeout_s=120,
        )
        assert entry["status"]["status_str"] == "success", entry
        return str(entry["outputs"]["2"]["images"][0]["filename"])

    def kill_run(self, process: subprocess.Popen[str]) -> None:
        """Kill a run with -9: on this computer, and what it left running on the host."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        # The module itself goes on without its controller. It holds the lock.
        self.machine.check_output(
            f"for pid in $(lslocks --noheadings --output PID,PATH | awk '$2 == \"{LOCK}\" {{print $1}}'); do"
            " kill -KILL $pid; done",
            root=True,
        )
