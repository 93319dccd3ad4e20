# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the module ``model_files``, or another one about models, on a host, and show how far it is until it ends.

The module runs by itself there (like a task with ``async``), so a controller that goes away does not end a download.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.noslop.studio.plugins.plugin_utils import model_progress, token_file

#: The longest download: a week.
LIMIT_S = 7 * 24 * 3600
POLL_S = 2.0
#: What a job adds to the result of its module.
_OF_JOB = ("started", "finished", "ansible_job_id", "results_file", "stdout", "stderr", "stdout_lines", "stderr_lines")
#: Between two lines for people without a terminal that is drawn anew.
LINE_S = 15.0


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Run the module in the background of the host, and follow it."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    #: Name of the module in the collection.
    module = "noslop.studio.model_files"

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the module."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if arguments.get("token_files"):
            try:
                arguments["tokens"] = {
                    origin: token_file.read(str(path)) for origin, path in arguments["token_files"].items()
                }
            except ValueError as error:
                raise AnsibleActionFail(str(error)) from error
        if not self.takes_long(arguments):
            result.update(self._execute_module(self.module, arguments, task_vars=task_vars))
            return result
        job = self._start(arguments, task_vars)
        if job.get("failed") or "ansible_job_id" not in job:
            result.update(job)
            return result
        result.update(self._follow(job, arguments, task_vars))
        return result

    def takes_long(self, arguments: dict[str, Any]) -> bool:
        """Return whether the module runs in the background."""
        works = arguments.get("state", "present") in ("present", "verified") and arguments.get("models")
        return bool(works) and not self._task.check_mode

    def _start(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Start the module in the background. Return its job."""
        before = self._task.async_val
        self._task.async_val = LIMIT_S
        try:
            job: dict[str, Any] = self._execute_module(self.module, arguments, task_vars=task_vars, wrap_async=True)
        finally:
            self._task.async_val = before
        return job

    def _follow(
        self, job: dict[str, Any], arguments: dict[str, Any], task_vars: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Show the progress until the job has ended. Return its result."""
        asked = {key: value for key, value in arguments.items() if key != "tokens"} | {"state": "progress"}
        path = str(arguments.get("progress_file") or "")
        shown = 0.0
        while True:
            time.sleep(POLL_S)
            answer = self._status({"jid": job["ansible_job_id"]}, task_vars)
            if answer.get("finished") or answer.get("failed"):
                self._status({"jid": job["ansible_job_id"], "mode": "cleanup"}, task_vars)
                return {key: value for key, value in answer.items() if key not in _OF_JOB}
            rows = self._execute_module(self.module, asked, task_vars=task_vars).get("models") or []
            if path:
                _write(path, rows)
            if time.monotonic() - shown >= LINE_S:
                shown = time.monotonic()
                for line in model_progress.format_rows(rows):
                    Display().display(f"    {line}", color=constants.COLOR_VERBOSE)

    def _status(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        directory = self.get_shell_option("async_dir", default="~/.ansible_async")
        values = {**arguments, "_async_dir": directory}
        answer: dict[str, Any] = self._execute_module("ansible.legacy.async_status", values, task_vars=task_vars)
        return answer


def _write(path: str, rows: list[dict[str, Any]]) -> None:
    """Write the progress for the driver, whole or not at all."""
    with open(f"{path}.new", "w", encoding="utf-8") as stream:
        json.dump(rows, stream)
    os.replace(f"{path}.new", path)
