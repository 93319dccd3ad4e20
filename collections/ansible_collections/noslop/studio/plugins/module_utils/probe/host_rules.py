# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge what one host measured of a file system. Pure: touches nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks import host_rules
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, shorten
from ansible_collections.noslop.studio.plugins.module_utils.probe.features import Features
from ansible_collections.noslop.studio.plugins.module_utils.probe.requirements import (
    CHOOSE,
    CLOCK_TOLERANCE_S,
    MILLISECOND_NS,
    NOTICED_CLOCK_S,
    REQUIREMENTS,
    SLOW_BYTES_S,
    SLOW_FILES_S,
    Place,
    Requirement,
    format_seconds,
)
from ansible_collections.noslop.studio.plugins.module_utils.probe.speed import Speed


def judge_answer(checks: Checks, place: Place, host: str, error: str) -> bool:
    """Check that the account could write to the share and the file system answered."""
    return checks.add(
        "probe.answered",
        not error,
        share=place.share,
        host=host,
        seen=shorten(error) if error else f"{place.owner} wrote to {place.path}",
        expected=f"{place.owner} (uid {place.uid}) makes a directory in {place.path} and files in it",
        todo=f"give uid {place.uid} the right to write to {place.path} as {host} sees it; where nothing answers, look "
        "at its server",
    )


def judge_features(checks: Checks, place: Place, host: str, features: Features) -> None:
    """Check what one host can do on the file system."""
    values: Mapping[str, Any] = features
    for requirement in REQUIREMENTS:
        reason = str(values[requirement.feature])
        if requirement.feature == "link_count" and features["hard_links"]:
            continue
        _judge_requirement(checks, place, host, requirement, reason)
    links, no_replace = features["hard_links"], features["no_replace"]
    checks.add(
        "probe.publish",
        not (links and no_replace),
        share=place.share,
        host=host,
        seen=f"neither hard links ({links}) nor renames that replace nothing ({no_replace})"
        if links and no_replace
        else "a file gets its name in one step, and replaces none",
        expected="link(2), or renameat2(2) with RENAME_NOREPLACE: a file is published whole, and over no other",
        todo=CHOOSE,
    )
    _judge_owner(checks, place, host, features["owner"])
    _judge_times(checks, place, host, features)


def judge_features_again(checks: Checks, place: Place, host: str, features: Features) -> None:
    """Check that the file system still has what a studio needs.

    What it can do without was named when it was measured, before the deployment, and is not named again.
    """
    inner = Checks(host)
    judge_features(inner, place, host, features)
    failed = [check for check in inner.list if not check["ok"]]
    checks.list += failed
    if not failed:
        checks.add(
            "probe.features",
            True,
            share=place.share,
            host=host,
            seen=f"{len(inner.list)} things that a studio needs or uses were tried",
            expected="the file system has what a studio needs",
            todo="",
        )


def _judge_requirement(checks: Checks, place: Place, host: str, requirement: Requirement, reason: str) -> None:
    if reason and not requirement.required:
        checks.note(
            requirement.check,
            share=place.share,
            host=host,
            seen=f"missing: {requirement.what} ({reason}). So {requirement.without}",
            expected=requirement.what,
        )
        return
    checks.add(
        requirement.check,
        not reason,
        share=place.share,
        host=host,
        seen=f"{reason}: {requirement.without}" if reason else requirement.what,
        expected=requirement.what,
        todo=CHOOSE,
    )


def _judge_owner(checks: Checks, place: Place, host: str, owner: Sequence[int]) -> None:
    checks.add(
        "probe.owner",
        list(owner) == [place.uid, place.gid],
        share=place.share,
        host=host,
        seen=f"a file that {place.owner} made belongs to {owner[0]}:{owner[1]}",
        expected=f"{place.uid}:{place.gid}",
        todo=f"let the file server keep numbers of users as they are (NFS: no all_squash, sec=sys), or give the mount "
        f"of {place.path} this owner (cifs, sshfs: uid={place.uid},gid={place.gid})",
    )


def _judge_times(checks: Checks, place: Place, host: str, features: Features) -> None:
    off_ns = features["times_off_ns"]
    if off_ns >= MILLISECOND_NS:
        checks.note(
            "probe.times",
            share=place.share,
            host=host,
            seen=f"a time that is written comes back {format_seconds(off_ns / 1e9)} off. So a file that changes twice "
            "within that time and keeps its size can look unchanged to reconcile",
            expected="times to the millisecond",
        )
    else:
        checks.add(
            "probe.times",
            True,
            share=place.share,
            host=host,
            seen="times keep their milliseconds",
            expected="times to the millisecond",
            todo="",
        )
    clock_s = features["clock_s"]
    observed = f"{clock_s:+.3f} s against the file server's clock"
    expected = f"within {CLOCK_TOLERANCE_S:g} s"
    if NOTICED_CLOCK_S < abs(clock_s) <= CLOCK_TOLERANCE_S:
        checks.note("probe.clock", share=place.share, host=host, seen=observed, expected="within 1 s")
        return
    checks.add(
        "probe.clock",
        abs(clock_s) <= CLOCK_TOLERANCE_S,
        share=place.share,
        host=host,
        seen=observed,
        expected=expected,
        todo=f"run `timedatectl set-ntp true` on {host}, and set the file server's clock",
    )


def judge_speed(checks: Checks, place: Place, host: str, speed: Speed, hosts: int) -> None:
    """Note room and speed of a host, and check the inodes."""
    beside = f", while {hosts - 1} other{'s' if hosts > 2 else ''} did the same" if hosts > 1 else ""
    inodes = f", {speed['free_inodes']} inodes" if speed["inodes"] else ""
    large = (
        f"a large file is written with {speed['write_bytes_s'] / 1e6:.0f} MB/s and read with "
        f"{speed['read_bytes_s'] / 1e6:.0f} MB/s"
        if speed["write_bytes_s"]
        else "no large file was written, for lack of room"
    )
    slow = []
    if speed["small_files_s"] < SLOW_FILES_S:
        slow.append(f"fewer than {SLOW_FILES_S:g} small files a second: clones and lists of thumbnails take minutes")
    if 0 < speed["read_bytes_s"] < SLOW_BYTES_S:
        slow.append(f"less than {SLOW_BYTES_S / 1e6:g} MB/s: a model of 6 GB takes ten minutes and more to load")
    checks.note(
        "probe.speed",
        share=place.share,
        host=host,
        seen=f"{speed['free_bytes'] / 1e9:.1f} GB{inodes} free; {speed['small_files_s']:.0f} small files a second, "
        f"{large}{beside}" + (f". Slow: {'; '.join(slow)}" if slow else ""),
        expected=f"at least {SLOW_FILES_S:g} small files and {SLOW_BYTES_S / 1e6:g} MB a second",
    )
    if speed["inodes"]:
        inner = Checks(host)
        host_rules.judge_inodes(inner, place.path, speed["inodes"], speed["free_inodes"], share=place.share)
        checks.list += inner.list


def judge_root(checks: Checks, host: str, errors: Mapping[str, str]) -> None:
    """Check that root, which is systemd, reaches the directory of each share: it shows a service only its own."""
    for share, error in errors.items():
        checks.add(
            "probe.root",
            not error,
            share=share,
            host=host,
            seen=error or "root reaches the directory",
            expected="root of the host may pass the directories above the share, even where the file server "
            "grants it no rights: systemd shows each service its own shares only",
            todo="give others the right to pass (`chmod o+x`) on each directory above the share on the file server; "
            "a FUSE file system needs the option allow_other",
        )
