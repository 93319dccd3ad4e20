# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that a host checks itself: its timer reported a short time ago."""

from __future__ import annotations

from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, enumerate_words
from ansible_collections.noslop.studio.plugins.module_utils.host.check_status import Status

#: A host that has not reported for so long does not check itself: ten runs.
SILENCE_S = 300.0
TIMER = "noslop-check.timer"
SERVICE = "noslop-check.service"


def judge_monitor(checks: Checks, status: Status | None, now: float) -> None:
    """Check the time of the last run. What it found bad is in the details, since verification checks that itself.

    Args:
        checks: where the result goes.
        status: the result of the last run.
        now: the time, in seconds since 1970.
    """
    age_s = now - status.finished if status else 0.0
    details: dict[str, Any] = {"finished": None, "phase": "", "bad": []}
    if status:
        bad = [
            {"check": entry.check, "share": entry.share, "since": entry.since, "seen": entry.observed}
            for entry in status.bad
        ]
        details = {"finished": status.finished, "phase": status.phase, "bad": bad}
        problems = enumerate_words(dict.fromkeys(f"{one['check']} {one['share']}".strip() for one in bad), "nothing")
        observed = f"{checks.host} checked itself {max(0.0, age_s):.0f} s ago: {problems} is bad"
        if status.deliveries.error:
            observed += f"; the webhook: {status.deliveries.error}"
    else:
        observed = "it has not checked itself yet"
    checks.add(
        "host.monitor",
        status is not None and abs(age_s) <= SILENCE_S,
        seen=observed,
        expected=f"{checks.host} checks itself every 30 s ({TIMER})",
        todo=(
            f"run `systemctl status {TIMER} {SERVICE}` and `journalctl -u {SERVICE} -n 20` on {checks.host}; then run "
            f"the services playbook again for {checks.host}"
        ),
        details=details,
    )
