# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show what the hosts had noticed by themselves when they were last verified. Connects to no host."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from noslop_driver import records
from noslop_driver.commands.result import HostMonitorData
from noslop_driver.inventory.directory import StudioDirectory

CHECK = "host.monitor"
"""The check of the verification with the result of a host's own checks."""


def read_monitors(studio: StudioDirectory) -> dict[str, HostMonitorData]:
    """Return what each host's own last checks were at the last verification, by host."""
    record = records.find_latest(studio.records, having="verification.json")
    if record is None:
        return {}
    report = json.loads((record[0] / "verification.json").read_text(encoding="utf-8"))
    monitors: dict[str, HostMonitorData] = {}
    for check in report.get("checks", []):
        if check.get("check") == CHECK and "details" in check:
            details = check["details"]
            monitors[check["host"]] = {
                "checked": format_time(details["finished"]),
                "phase": str(details["phase"]),
                "bad": [
                    {
                        "check": str(one["check"]),
                        "share": str(one["share"]),
                        "since": format_time(one["since"]),
                        "observed": str(one["seen"]),
                    }
                    for one in details["bad"]
                ],
            }
    return monitors


def format_monitors(
    monitors: Mapping[str, HostMonitorData], when: str = "before the last verification, "
) -> Iterator[str]:
    """Return a line for each host, and one for each check that was bad."""
    for host, monitor in monitors.items():
        if monitor["checked"] is None:
            yield f"{host} did not check itself"
            continue
        phase = f" ({monitor['phase']})" if monitor["phase"] else ""
        bad = f"{len(monitor['bad'])} bad" if monitor["bad"] else "nothing bad"
        yield f"{host} checked itself {when}{monitor['checked']}{phase}: {bad}"
        for one in monitor["bad"]:
            yield f"  {one['check']} {one['share']}".rstrip() + f", since {one['since']}: {one['observed']}"


def format_time(seconds: float | None) -> str | None:
    """Return a time as the records have it: ISO 8601, UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
