# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill ansible-playbook with -9 after a number of tasks, for tests of interrupted runs."""

from __future__ import annotations

import os
import signal
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: kill_after
type: aggregate
short_description: Kill ansible-playbook after a number of tasks
description:
  - Counts the tasks that ran, without those that every host skipped. When the number in NOSLOP_KILL_AFTER is reached
    and the last task has ended on every host, all processes of the run's process group are killed. Of no use outside of
    tests.
requirements: []
"""


class CallbackModule(CallbackBase):  # type: ignore[misc] # the library has no types
    """Count tasks, and kill."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kill_after"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.left = int(os.environ["NOSLOP_KILL_AFTER"])
        self.task = ""

    def v2_runner_on_ok(self, result: Any) -> None:  # noqa: ANN401 - of a library without types
        """Note a task that ended well on a host."""
        self.task = result.task_name

    def v2_playbook_on_task_start(self, _task: object, is_conditional: bool) -> None:
        """Count the task before."""
        self._end_task()

    def v2_playbook_on_handler_task_start(self, _task: object) -> None:
        """Count the task before."""
        self._end_task()

    def v2_playbook_on_stats(self, _stats: object) -> None:
        """Count the last task."""
        self._end_task()

    def _end_task(self) -> None:
        if not self.task:
            return
        self.left -= 1
        if self.left == 0:
            self._display.display(f"killed after: {self.task}")
            os.killpg(0, signal.SIGKILL)
        self.task = ""
