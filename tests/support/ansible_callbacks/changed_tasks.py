# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write which tasks reported a change on which host, for tests that compare runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: changed_tasks
type: aggregate
short_description: Write the tasks that reported a change
description:
  - At the end of a run, writes the names of the tasks that reported a change, by host, to the file in
    NOSLOP_CHANGED_TASKS, as JSON. Of no use outside of tests.
requirements: []
"""


class CallbackModule(CallbackBase):  # type: ignore[misc] # the library has no types
    """Collect the changed tasks, and write them."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "changed_tasks"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.changed: dict[str, list[str]] = {}

    def v2_runner_on_ok(self, result: Any) -> None:  # noqa: ANN401 - of a library without types
        """Record a task that changed something, or in check mode would."""
        names = self.changed.setdefault(result.host.get_name(), [])
        if result.result.get("changed"):
            names.append(result.task_name)

    def v2_playbook_on_stats(self, _stats: object) -> None:
        """Write the record."""
        Path(os.environ["NOSLOP_CHANGED_TASKS"]).write_text(json.dumps(self.changed), encoding="utf-8")
