# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report the verification of a studio on the controller, from the checks of all hosts."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check
from ansible_collections.noslop.studio.plugins.plugin_utils import reports

#: Registered by the role studio_verify; the second has the error of the connection where the first is missing.
REGISTERED = ("studio_verify_result", "__studio_verify_written")


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Collect the checks, write the report and print it; run nothing on a host."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``report``. The task does not fail when a check failed."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        __, arguments = self.validate_argument_spec(
            argument_spec={
                "hosts": {"type": "list", "elements": "str", "required": True},
                "studio_id": {"type": "str", "required": True},
                "path": {"type": "str", "default": ""},
            }
        )
        hostvars = (task_vars or {})["hostvars"]
        results = {host: registered(hostvars, host, REGISTERED) for host in arguments["hosts"]}
        checks = reports.gather(arguments["hosts"], results)
        if self._task.check_mode:
            bare = {host for host, own in results.items() if any(one.get("deployed") is False for one in own)}
            checks = [check for check in checks if check["host"] not in bare]
            checks += [reports.report_not_deployed(host) for host in arguments["hosts"] if host in bare]
        report = {
            "ok": not reports.select_failed(checks),
            "studio_id": arguments["studio_id"],
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "checks": checks,
        }
        if arguments["path"]:
            write(arguments["path"], report)
        show(checks, f"Verification of studio {arguments['studio_id']}", checked_only=self._task.check_mode)
        result.update(changed=False, report=report, headline=reports.format_headline(checks))
        return result


def registered(hostvars: Mapping[str, Mapping[str, Any]], host: str, names: tuple[str, ...]) -> list[Mapping[str, Any]]:
    """Return the results that tasks registered for a host under these names, as far as they ran."""
    own = hostvars.get(host, {})
    return [dict(own[name]) for name in names if isinstance(own.get(name), Mapping)]


def write(path: str, report: Mapping[str, Any]) -> None:
    """Write the report in one step, so that no reader sees half of it.

    Raises:
        AnsibleActionFail: it could not be written.
    """
    directory = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(directory, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=".report-")
        with open(descriptor, "w", encoding="utf-8") as stream:
            json.dump(report, stream, indent=2)
            stream.write("\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise AnsibleActionFail(f"the report could not be written to {path}: {error.strerror}") from error


def show(checks: list[Check], title: str, *, checked_only: bool) -> None:
    """Print the table, then every failed check in full; with ``-v`` every check."""
    display = Display()
    display.display(f"\n{title}", color=constants.COLOR_HIGHLIGHT)
    for line, ok in reports.summarize(checks):
        display.display(line, color=constants.COLOR_OK if ok else constants.COLOR_ERROR)
    if display.verbosity > 0:
        display.display("\n".join(["", *map(reports.format_line, checks)]))
    notes = reports.list_notes(checks)
    if notes:
        display.display("\n".join(["\nTo know", *notes]))
    bad = reports.select_failed(checks)
    if bad:
        display.display("\n".join(["\nFailed", *map(reports.format_check, bad)]), color=constants.COLOR_ERROR)
    if checked_only:
        display.display("\n  In check mode nothing is written, so the proof across hosts is left out.")
