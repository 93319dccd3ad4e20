# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merge the checks of all hosts into one report, hand it to the driver, and format it as text. Pure.

A task hands a report over in its result, under :data:`KEY`, and with a version: the driver reads nothing else of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import (
    NOTE,
    Check,
    is_note,
    parse_area,
    shorten,
)

#: The key of a task's result that contains a report.
KEY = "noslop_report"
#: The version of a report's content. It is raised when a key is removed or means something else.
VERSION = 1

_UNREACHABLE_TODO = (
    "switch {host} on, see whether `ssh` reaches it, and run this again; if it has another address now, set that as "
    "ansible_host (or noslop_address) of {host} in the inventory, and deploy"
)
_BROKEN_TODO = "look at the run's output about {host} further up, mend that, and run this again"


def make_report(studio_id: str, checks: Sequence[Check], finished: str) -> dict[str, Any]:
    """Return the report of ``checks``, which ended at ``finished`` (ISO 8601)."""
    return {
        "version": VERSION,
        "ok": not select_failed(checks),
        "studio_id": studio_id,
        "finished": finished,
        "checks": list(checks),
    }


def read_report(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the report in the result of a task; ``None`` where there is none of this version."""
    report = result.get(KEY)
    return dict(report) if isinstance(report, Mapping) and report.get("version") == VERSION else None


def gather(hosts: Iterable[str], results: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Check]:
    """Return all checks of all hosts; a host without a result becomes a failed check.

    Args:
        hosts: all hosts that should have results.
        results: per host the registered results of its tasks, the one with its checks first.
    """
    checks: list[Check] = []
    for host in hosts:
        own = [result for result in results.get(host, []) if result]
        reported = next((result["checks"] for result in own if "checks" in result), None)
        checks += reported if reported is not None else [_missing_result(host, own)]
    return checks


def _missing_result(host: str, results: Sequence[Mapping[str, Any]]) -> Check:
    failure = next((result for result in results if result.get("msg")), {})
    unreachable = any(result.get("unreachable") for result in results)
    nothing = "this run ended for the host before this check"
    return Check(
        host=host,
        check="host.reachable" if unreachable else "host.answered",
        share="",
        ok=False,
        seen=shorten(str(failure.get("msg") or nothing), 300),
        expected="the host answers" if unreachable else "the host gives a list of results",
        todo=(_UNREACHABLE_TODO if unreachable else _BROKEN_TODO).format(host=host),
    )


def report_not_deployed(host: str) -> Check:
    """Return the check that stands for a host without a deployment in check mode."""
    return Check(
        host=host,
        check="host.deployed",
        share="",
        ok=False,
        seen="not deployed yet",
        expected="a host of the studio",
        todo="run this without --check",
    )


def select_failed(checks: Iterable[Check]) -> list[Check]:
    """Return the checks that did not pass."""
    return [check for check in checks if not check["ok"]]


def summarize(checks: Sequence[Check]) -> list[tuple[str, bool]]:
    """Return one line for each host and area, with whether all its checks passed."""
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        groups.setdefault((check["host"], parse_area(check["check"])), []).append(check)
    host_width = max((len(host) for host, __ in groups), default=0)
    area_width = max((len(area) for __, area in groups), default=0)
    lines: list[tuple[str, bool]] = []
    for (host, area), own in groups.items():
        bad = len(select_failed(own))
        count = f"{len(own)} check{'s' if len(own) != 1 else ''}"
        state = f"{bad} of {count} failed" if bad else f"ok, {count}"
        lines.append((f"  {host:<{host_width}}  {area:<{area_width}}  {state}", not bad))
    return lines


def format_check(check: Check) -> str:
    """Return one check as text, with all its fields."""
    share = f", share {check['share']}" if check["share"] else ""
    lines = [
        f"  {check['host']}: {check['check']}{share}",
        f"      seen:      {check['seen']}",
        f"      expected:  {check['expected']}",
    ]
    if check["todo"]:
        lines.append(f"      to do:     {check['todo']}")
    return "\n".join(lines)


def format_line(check: Check) -> str:
    """Return one check as one line."""
    return f"  {'ok    ' if check['ok'] else 'FAILED'}  {check['host']}  {_name(check)}: {check['seen']}"


def merge_hosts(checks: Iterable[Check]) -> list[tuple[list[str], Check]]:
    """Return each group of checks that differ by host only, as the names of the hosts and one check."""
    groups: dict[tuple[str, ...], tuple[list[str], Check]] = {}
    for check in checks:
        key = (check["check"], check["share"], check["seen"], check["expected"])
        groups.setdefault(key, ([], check))[0].append(check["host"])
    return list(groups.values())


def format_headline(checks: Sequence[Check]) -> str:
    """Return the failed checks by host, in one line; empty when none failed."""
    bad = select_failed(checks)
    if not bad:
        return ""
    hosts: dict[str, list[str]] = {}
    for check in bad:
        hosts.setdefault(check["host"], []).append(_name(check))
    failures = "; ".join(f"{host}: {', '.join(names)}" for host, names in hosts.items())
    return f"{len(bad)} of {len(checks)} checks failed. {failures}"


def list_problems(checks: Iterable[Check]) -> list[str]:
    """Return every failed check with its next step; one that several hosts share is listed once."""
    return [
        f"  {', '.join(hosts)}: {_name(check)}: {check['seen']}\n"
        f"      expected:  {check['expected']}\n"
        f"      to do:     {check['todo']}"
        for hosts, check in merge_hosts(select_failed(checks))
    ]


def list_notes(checks: Iterable[Check]) -> list[str]:
    """Return the passed checks that the user should read, each once."""
    return [
        f"  {', '.join(hosts)}: {_name(check)}: {check['seen'].removeprefix(NOTE)}"
        for hosts, check in merge_hosts(check for check in checks if is_note(check))
    ]


def _name(check: Check) -> str:
    return f"{check['check']} [{check['share']}]" if check["share"] else check["check"]
