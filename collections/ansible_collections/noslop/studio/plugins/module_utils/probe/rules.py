# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge what a probe measured on all hosts and between them. Pure: touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, enumerate_words
from ansible_collections.noslop.studio.plugins.module_utils.probe.host_rules import (
    judge_answer,
    judge_features,
    judge_speed,
)
from ansible_collections.noslop.studio.plugins.module_utils.probe.meeting import MODE, Meeting
from ansible_collections.noslop.studio.plugins.module_utils.probe.requirements import (
    CHOOSE,
    NOTICED_DELAY_S,
    REFUSED_DELAY_S,
    Place,
    format_seconds,
)


def judge(
    checks: Checks,
    place: Place,
    measured: Mapping[str, Mapping[str, Any]],
    met: Mapping[str, Mapping[str, Any]],
) -> None:
    """Judge one file system by what all hosts measured.

    Args:
        checks: where the results go; each names its host.
        place: the file system.
        measured: host to ``features`` and ``speed``, or to ``error``.
        met: host to its :class:`Meeting`, or to ``error``.
    """
    for host, own in measured.items():
        if not judge_answer(checks, place, host, str(own.get("error", ""))):
            continue
        judge_features(checks, place, host, own["features"])
        judge_speed(checks, place, host, own["speed"], len(measured))
    meetings: dict[str, Meeting] = {host: one["meeting"] for host, one in met.items() if "meeting" in one}
    for host, one in met.items():
        if one.get("error"):
            judge_answer(checks, place, host, str(one["error"]))
    if len(measured) < 2:
        return
    for host, meeting in meetings.items():
        judge_others(checks, place, host, meeting)
    judge_race(checks, place, meetings)
    judge_replacing(checks, place, meetings)
    judge_delays(checks, place, meetings)
    judge_locks(checks, place, meetings)


def judge_others(checks: Checks, place: Place, host: str, meeting: Meeting) -> None:
    """Check that a host reads what the others wrote, with the same owner and mode."""
    bad = {other: problem for other, problem in meeting["content"].items() if problem}
    checks.add(
        "probe.content",
        not bad,
        share=place.share,
        host=host,
        seen="; ".join(f"from {other}: {problem}" for other, problem in bad.items())
        or f"read what {enumerate_words(meeting['content'])} wrote",
        expected="the same content on every host",
        todo=f"mount the same directory of the same file system at {place.path} on every host: compare "
        f"`findmnt --target {place.path}` on {host} and {enumerate_words(bad)}",
    )
    wanted = [place.uid, place.gid]
    foreign = {other: owner for other, owner in meeting["owners"].items() if owner[:2] != wanted}
    checks.add(
        "probe.owners",
        not foreign,
        share=place.share,
        host=host,
        seen="; ".join(f"the file of {other} belongs to {one[0]}:{one[1]}" for other, one in foreign.items())
        or f"files of all hosts belong to {place.uid}:{place.gid}",
        expected=f"{place.uid}:{place.gid}, by whichever host a file was written",
        todo="let all hosts and the file server use the same numbers (NFS: no idmapping, sec=sys; cifs, sshfs: "
        f"uid={place.uid},gid={place.gid} in the options on every host)",
    )
    modes = {other: one[2] for other, one in meeting["owners"].items() if one[2] != MODE}
    if modes:
        checks.note(
            "probe.modes",
            share=place.share,
            host=host,
            seen="; ".join(f"the file of {other} has mode {mode:04o}" for other, mode in modes.items())
            + ". So the mount decides who may write, not the file: check its options",
            expected=f"mode {MODE:04o}, as it was given",
        )
    links = {other: problem for other, problem in meeting["links"].items() if problem}
    checks.add(
        "probe.links_of_others",
        not links,
        share=place.share,
        host=host,
        seen="; ".join(f"of {other}: {problem}" for other, problem in links.items())
        or "links that other hosts made lead to their files",
        expected="links that other hosts made lead to their files",
        todo=CHOOSE,
    )


def judge_race(checks: Checks, place: Place, meetings: Mapping[str, Meeting]) -> None:
    """Check that of hosts which make one name at once, exactly one succeeds."""
    racers = {host: meeting["race"] for host, meeting in meetings.items() if meeting["race"]["names"]}
    if len(racers) < 2:
        return
    names = max(race["names"] for race in racers.values())
    wins = [number for race in racers.values() for number in race["won"]]
    twice = sorted({number for number in wins if wins.count(number) > 1})
    never = [number for number in range(names) if number not in wins]
    errors = {host: race["error"] for host, race in racers.items() if race["error"]}
    problems = [f"{len(twice)} of {names} names were made by two hosts"] if twice else []
    problems += [f"{len(never)} of {names} by no host"] if never else []
    if errors and not problems:
        checks.note(
            "probe.exclusive_across_hosts",
            share=place.share,
            host=min(racers),
            seen=f"{names} names were made at once by {len(racers)} hosts, each by one of them; the others got "
            + ", ".join(f"{error} ({host})" for host, error in errors.items())
            + ". So a program that is second in such a moment ends with this error",
            expected="the second host learns that the name is in use (EEXIST)",
        )
        return
    problems += [f"{host}: {error}" for host, error in errors.items()]
    checks.add(
        "probe.exclusive_across_hosts",
        not problems,
        share=place.share,
        host=min(racers),
        seen="; ".join(problems) or f"{names} names were made at once by {len(racers)} hosts, each by one of them",
        expected="a name is made once (O_EXCL across hosts): else two hosts write to one file",
        todo=CHOOSE,
    )


def judge_replacing(checks: Checks, place: Place, meetings: Mapping[str, Meeting]) -> None:
    """Check that no host saw a file torn or missing while another one replaced it."""
    renames = sum(meeting["replacing"]["renames"] for meeting in meetings.values())
    for host, meeting in meetings.items():
        replacing = meeting["replacing"]
        if not replacing["reads"] and not replacing["error"]:
            continue
        counts = {"the file was torn": replacing["torn"], "the file was missing": replacing["missing"]}
        problems = [f"{count} of {replacing['reads']} times {text}" for text, count in counts.items() if count]
        problems += [replacing["error"]] if replacing["error"] else []
        stale = f", {replacing['stale']} times after opening it again" if replacing["stale"] else ""
        checks.add(
            "probe.replace_across_hosts",
            not problems,
            share=place.share,
            host=host,
            seen="; ".join(problems)
            or f"a file that was replaced {renames} times was read {replacing['reads']} times, whole each time{stale}",
            expected="a rename replaces a file in one step for the readers on other hosts: else they get half a file",
            todo=CHOOSE,
        )


def judge_delays(checks: Checks, place: Place, meetings: Mapping[str, Meeting]) -> None:
    """Check how soon other hosts see a new file."""
    for meeting in meetings.values():
        for host, delay_s in meeting["delays_s"].items():
            never = delay_s < 0
            observed = "it was not seen" if never else f"{format_seconds(delay_s)} after it was written"
            if NOTICED_DELAY_S < delay_s <= REFUSED_DELAY_S:
                checks.note(
                    "probe.delay",
                    share=place.share,
                    host=host,
                    seen=f"{observed}, a new file is seen here. So a model or an image of another host is listed that "
                    "much later (NFS: acdirmin=1,acdirmax=3 or lookupcache=positive among the mount's options)",
                    expected=f"within {NOTICED_DELAY_S:g} s",
                )
                continue
            checks.add(
                "probe.delay",
                not never and delay_s <= REFUSED_DELAY_S,
                share=place.share,
                host=host,
                seen=f"a new file of another host: {observed}",
                expected=f"seen within {REFUSED_DELAY_S:g} s",
                todo="let clients ask the server more often (NFS: acdirmax=3 among the mount's options), then run this "
                "again",
            )
        absent = enumerate_words(meeting["absent"])
        if meeting["absent"] and meeting["delays_s"]:
            checks.note(
                "probe.absent",
                share=place.share,
                host=min(meeting["absent"]),
                seen=f"{absent} did not come to the tests between hosts",
                expected="all participants at once",
            )


def judge_locks(checks: Checks, place: Place, meetings: Mapping[str, Meeting]) -> None:
    """Note where a lock of one host does not keep others out. NoSlop itself locks nothing on shares."""
    for kind in ("flock", "fcntl"):
        outcomes = {host: meeting["locks"].get(kind, "") for host, meeting in meetings.items() if meeting["locks"]}
        wrong = {host: outcome for host, outcome in outcomes.items() if outcome not in ("", "refused")}
        if wrong:
            words = {"granted": "got a lock that another host has"}
            checks.note(
                "probe.locks",
                share=place.share,
                host=min(wrong),
                seen=f"{kind}: "
                + "; ".join(f"{host} {words.get(outcome, outcome)}" for host, outcome in wrong.items())
                + ". So programs of people that lock files, such as SQLite and office programs, are not kept apart; "
                "NoSlop locks nothing there",
                expected=f"{kind} works across hosts",
            )
        elif len(outcomes) > 1:
            checks.add(
                "probe.locks",
                True,
                share=place.share,
                host=min(outcomes),
                seen=f"{kind}: a lock of one host keeps {len(outcomes) - 1} others out",
                expected=f"{kind} works across hosts",
                todo="",
            )
