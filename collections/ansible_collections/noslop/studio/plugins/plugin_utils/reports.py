# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make one report of what all hosts said, and the text of it that a person reads. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import NOTE, Check, area_of, is_note, shorten

_UNREACHABLE_TODO = "switch {host} on, see whether `ssh` reaches it, and run this again"
_BROKEN_TODO = "look at what the run said about {host} further up, mend that, and run this again"


def gather(hosts: Iterable[str], results: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Check]:
    """All checks of all hosts; a host that gave none is a failed check.

    Args:
        hosts: every host that should have been asked.
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
    nothing = "this run gave the host up before it came to this"
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
    """The one thing to say of a bare host in check mode."""
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
    """The checks that did not pass."""
    return [check for check in checks if not check["ok"]]


def summarize(checks: Sequence[Check]) -> list[tuple[str, bool]]:
    """One line for each host and area, with whether all is well there."""
    groups: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        groups.setdefault((check["host"], area_of(check["check"])), []).append(check)
    host_width = max((len(host) for host, _ in groups), default=0)
    area_width = max((len(area) for _, area in groups), default=0)
    lines: list[tuple[str, bool]] = []
    for (host, area), own in groups.items():
        bad = len(select_failed(own))
        count = f"{len(own)} check{'s' if len(own) != 1 else ''}"
        state = f"{bad} of {count} failed" if bad else f"ok, {count}"
        lines.append((f"  {host:<{host_width}}  {area:<{area_width}}  {state}", not bad))
    return lines


def format_check(check: Check) -> str:
    """One check with everything that is known about it."""
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
    """One check in a line."""
    return f"  {'ok    ' if check['ok'] else 'FAILED'}  {check['host']}  {_name(check)}: {check['seen']}"


def merge_hosts(checks: Iterable[Check]) -> list[tuple[list[str], Check]]:
    """Checks that say the same of several hosts, as one with the names of these hosts."""
    groups: dict[tuple[str, ...], tuple[list[str], Check]] = {}
    for check in checks:
        key = (check["check"], check["share"], check["seen"], check["expected"])
        groups.setdefault(key, ([], check))[0].append(check["host"])
    return list(groups.values())


def format_headline(checks: Sequence[Check]) -> str:
    """What failed where, in one line; empty when nothing did."""
    bad = select_failed(checks)
    if not bad:
        return ""
    hosts: dict[str, list[str]] = {}
    for check in bad:
        hosts.setdefault(check["host"], []).append(_name(check))
    failures = "; ".join(f"{host}: {', '.join(names)}" for host, names in hosts.items())
    return f"{len(bad)} of {len(checks)} checks failed. {failures}"


def list_problems(checks: Iterable[Check]) -> list[str]:
    """Every failed check with what to do; what several hosts have in common is told once."""
    return [
        f"  {', '.join(hosts)}: {_name(check)}: {check['seen']}\n"
        f"      expected:  {check['expected']}\n"
        f"      to do:     {check['todo']}"
        for hosts, check in merge_hosts(select_failed(checks))
    ]


def list_notes(checks: Iterable[Check]) -> list[str]:
    """What passed and should still be read, each once."""
    return [
        f"  {', '.join(hosts)}: {_name(check)}: {check['seen'].removeprefix(NOTE)}"
        for hosts, check in merge_hosts(check for check in checks if is_note(check))
    ]


def _name(check: Check) -> str:
    return f"{check['check']} [{check['share']}]" if check["share"] else check["check"]
