# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the switch between two versions of the real ComfyUI, on a CPU. See test_comfyui.py for how to run it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

import pytest

from tests.real.conftest import OLD_REVISION, REVISION, Source
from tests.support.lab.comfyui_host import PROMPT, USER, ComfyuiHost
from tests.support.lab.machines import wait_for

pytestmark = pytest.mark.real

WORKFLOW = "workflows/of-a-user.json"


def test_real_upgrade_and_the_way_back_keep_data(comfyui: ComfyuiHost, find_source: Callable[[str], Source]) -> None:
    old, new = find_source(OLD_REVISION), find_source(REVISION)
    comfyui.converge(old.revision, **old.variables)
    version = comfyui.read_version()

    renders = [comfyui.render()]
    comfyui.machine.check_output(
        f"cd {USER} && setpriv --reuid noslop-comfyui --regid noslop-comfyui --clear-groups"
        f" sh -c 'mkdir -p default/workflows && echo {{}} > default/{WORKFLOW}'",
        root=True,
    )

    assert comfyui.converge(new.revision, **new.variables) > 0
    assert comfyui.read_version() != version
    renders.append(comfyui.render())
    assert "of-a-user.json" in json.loads(comfyui.request("/userdata?dir=workflows"))
    assert comfyui.converge(new.revision, **new.variables) == 0

    assert comfyui.converge(old.revision, **old.variables) > 0
    assert comfyui.read_version() == version
    renders.append(comfyui.render())
    assert renders == sorted(set(renders))
    assert "of-a-user.json" in json.loads(comfyui.request("/userdata?dir=workflows"))


def test_jobs_list_a_prompt_by_the_id_that_it_was_sent_with(
    comfyui: ComfyuiHost, find_source: Callable[[str], Source]
) -> None:
    new = find_source(REVISION)
    comfyui.converge(new.revision, **new.variables)
    prompt_id = str(uuid.uuid4())
    comfyui.request("/prompt", {"prompt": PROMPT, "prompt_id": prompt_id})

    def read_status() -> str:
        jobs = json.loads(comfyui.request("/api/jobs?status=completed&limit=50"))["jobs"]
        return next((str(job["status"]) for job in jobs if job["id"] == prompt_id), "")

    assert wait_for("the job", read_status, timeout_s=120) == "completed"
