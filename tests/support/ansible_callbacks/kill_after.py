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
  - Counts the tasks that ran on the host, without those that were skipped. When the number in NOSLOP_KILL_AFTER is
    reached, all processes of the run's process group are killed. Of no use outside of tests.
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

    def v2_runner_on_ok(self, result: Any) -> None:  # noqa: ANN401 - of a library without types
        """Count a task that ended well."""
        self.left -= 1
        if self.left == 0:
            self._display.display(f"killed after: {result.task_name}")
            os.killpg(0, signal.SIGKILL)
