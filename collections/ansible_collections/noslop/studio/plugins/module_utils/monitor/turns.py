# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what turned bad or good between two runs. Pure: touches nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check
from ansible_collections.noslop.studio.plugins.module_utils.checks.host_watch import SLOW
from ansible_collections.noslop.studio.plugins.module_utils.host.check_status import Deliveries, Entry

#: Others are informed of what is bad in so many runs in a row: one failure may be the moment of a restart.
ANNOUNCED_RUNS = 2
#: A slow write counts from so many in a row: one alone may have waited for another program's.
SLOW_RUNS = 2
#: Requests to the webhook in an hour, with those that failed.
HOURLY_LIMIT = 12
HOUR_S = 3600.0
#: The pause after a request that failed. It doubles with each further one.
FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 900.0


def merge(checks: Iterable[Check]) -> list[Check]:
    """Return the checks with one for each name and share: it is bad where any of them is, and describes those."""
    merged: dict[tuple[str, str], Check] = {}
    for check in checks:
        key = check["check"], check["share"]
        before = merged.get(key)
        if before is None or (before["ok"] and not check["ok"]):
            merged[key] = check
        elif not before["ok"] and not check["ok"]:
            merged[key] = {**before, "seen": f"{before['seen']}; {check['seen']}"}
    return list(merged.values())


def update(before: Sequence[Entry], checks: Iterable[Check], now: float, *, excused: bool) -> list[Entry]:
    """Return the state of each check after a run.

    Args:
        before: the states after the run before.
        checks: the results of this run.
        now: its time, in seconds since 1970.
        excused: whether the host is starting or being changed: then a failure is no reason to inform others.
    """
    earlier = {entry.key: entry for entry in before}
    entries = [_next(earlier.get((check["check"], check["share"])), check, now, excused) for check in merge(checks)]
    # A check that others know to be bad and that cannot be made, such as that of the options of a share that is not
    # mounted, stays bad until everything that is checked is good.
    if any(not entry.ok for entry in entries):
        made = {entry.key for entry in entries}
        entries += [entry for entry in before if entry.announced and entry.key not in made]
    return entries


def find_turned(entries: Iterable[Entry]) -> list[Entry]:
    """Return the checks of which others have to be informed: newly bad ones, and good ones that they know as bad."""
    return [entry for entry in entries if entry.announced == entry.ok and (entry.ok or _is_lasting(entry))]


def mark_announced(entries: Iterable[Entry], announced: Iterable[Entry]) -> list[Entry]:
    """Return the states after others were informed of some of them."""
    keys = {entry.key for entry in announced}
    return [replace(entry, announced=not entry.ok) if entry.key in keys else entry for entry in entries]


def may_deliver(deliveries: Deliveries, now: float) -> bool:
    """Return whether a request may be sent now."""
    recent = _recent(deliveries, now)
    if not recent or not deliveries.failures:
        return len(recent) < HOURLY_LIMIT
    pause_s = min(FIRST_PAUSE_S * 2.0 ** (deliveries.failures - 1), LONGEST_PAUSE_S)
    return len(recent) < HOURLY_LIMIT and now - recent[-1] >= pause_s


def add_delivery(deliveries: Deliveries, now: float, error: str) -> Deliveries:
    """Return the attempts after one more, whose ``error`` is empty where it succeeded."""
    return Deliveries([*_recent(deliveries, now), now], deliveries.failures + 1 if error else 0, error)


def _next(before: Entry | None, check: Check, now: float, excused: bool) -> Entry:
    runs = before.bad_runs if before else 0
    bad_runs = 0 if check["ok"] else runs + (not excused)
    ok = check["ok"] or (check["check"] == SLOW and bad_runs < SLOW_RUNS)
    return Entry(
        check=check["check"],
        share=check["share"],
        ok=ok,
        since=before.since if before and before.ok == ok else now,
        bad_runs=bad_runs,
        announced=bool(before and before.announced),
        observed=check["seen"],
        expected=check["expected"],
        todo=check["todo"],
    )


def _is_lasting(entry: Entry) -> bool:
    return entry.bad_runs >= ANNOUNCED_RUNS


def _recent(deliveries: Deliveries, now: float) -> list[float]:
    """Return the attempts of the last hour. One in the future, by a clock that was wrong, is none."""
    return [at for at in deliveries.attempts if 0 <= now - at < HOUR_S]
