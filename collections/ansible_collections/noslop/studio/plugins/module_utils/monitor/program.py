# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the checks of this host once: what the timer of the role ``studio_verify`` does each half minute.

The role installs this file with those that it imports, and systemd runs it: ``python3 -I /opt/noslop/check SETTINGS``.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks.host_watch import BOUND_S, HostWatch, Watched
from ansible_collections.noslop.studio.plugins.module_utils.checks.verification import NOBODY
from ansible_collections.noslop.studio.plugins.module_utils.host import (
    check_status,
    lease,
    processes,
    safe_paths,
    state,
)
from ansible_collections.noslop.studio.plugins.module_utils.host.check_status import Entry, Hanging, Status
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import run_one
from ansible_collections.noslop.studio.plugins.module_utils.monitor import metrics, turns

#: A server that was restarted lets its clients wait for 90 s (nfs.conf(5)), and mounts and services need some more.
STARTING_S = 180.0
#: The bound of one request to the webhook, which has a shorter one for each of its steps.
DELIVERY_S = 8.0


@dataclass(frozen=True)
class Settings:
    """The settings that the role wrote: the parameters of ``studio_check``, and where this program writes."""

    options: Mapping[str, Any]
    slow_s: float
    status_directory: str = check_status.DIRECTORY
    #: where the node exporter reads files; nothing is written where it is missing
    textfile_directory: str = ""
    #: a file of root's with ``url`` and ``format``; no webhook where it is empty
    webhook_file: str = ""
    lease_directory: str = lease.DIRECTORY
    bound_s: float = BOUND_S


def main(words: Sequence[str]) -> int:
    """Run the checks once. Return the exit code: 0 also where a check failed, since that is a result.

    Args:
        words: the path of the settings.
    """
    with open(words[0], encoding="utf-8") as stream:
        values = json.load(stream)
    values.pop("comment", None)
    run(Settings(**values))
    return 0


def run(settings: Settings) -> Status:
    """Make the checks, write the results, and inform the webhook where something turned."""
    began, started = time.time(), time.monotonic()
    before = check_status.read(settings.status_directory)
    boot = state.read_text("/proc/sys/kernel/random/boot_id").strip()
    hanging = _find_hanging(before, boot)
    errors = {
        part: f"process {one.pid}, which looked at it {began - one.since:.0f} s ago, was killed and still hangs"
        for part, one in hanging.items()
    }
    phase = _find_phase(settings.lease_directory)
    watched = HostWatch(settings.options, settings.slow_s, settings.bound_s).run(errors)
    # A deployment may have started or ended meanwhile.
    phase = _find_phase(settings.lease_directory) or phase
    status = _make_status(settings, before, watched, phase, boot)
    status = replace(
        status,
        duration_s=time.monotonic() - started,
        hanging={**hanging, **{part: _identify(pid, began) for part, pid in watched.left.items()}},
    )
    check_status.write(status, settings.status_directory)
    _print_turned(before.checks if before else [], status.checks)
    _write_metrics(settings.textfile_directory, status)
    return _deliver(settings, status)


def _make_status(settings: Settings, before: Status | None, watched: Watched, phase: str, boot: str) -> Status:
    now = time.time()
    status = Status(
        host=str(settings.options["host"]),
        studio_id=str(settings.options["studio_id"]),
        boot=boot,
        finished=now,
        duration_s=0.0,
        phase=phase,
        checks=turns.update(before.checks if before else [], watched.checks, now, excused=bool(phase)),
        write_s=watched.write_s,
    )
    return replace(status, deliveries=before.deliveries) if before else status


def _find_hanging(before: Status | None, boot: str) -> dict[str, Hanging]:
    """Return the processes of earlier runs that still hang, by part. A restart of the host ended them all."""
    if before is None or before.boot != boot:
        return {}
    return {part: one for part, one in before.hanging.items() if processes.has_started_at(one.pid, one.started)}


def _identify(pid: int, since: float) -> Hanging:
    return Hanging(pid, processes.read_start(pid), since)


def _find_phase(lease_directory: str) -> str:
    """Return why failures count for nothing now: the host is being changed or has just started; empty otherwise."""
    with contextlib.suppress(OSError):
        current = lease.read(lease_directory)
        if current and current.is_valid(time.time()):
            return "deploying"
    words = state.read_text("/proc/uptime").split()
    return "starting" if words and float(words[0]) < STARTING_S else ""


def _print_turned(before: Sequence[Entry], after: Sequence[Entry]) -> None:
    """Print what changed, for the journal."""
    earlier = {entry.key: entry.ok for entry in before}
    for entry in after:
        if entry.ok != earlier.get(entry.key, True):
            what = f"{entry.check} {entry.share}".strip()
            sys.stdout.write(f"{'good again' if entry.ok else 'bad'}: {what}: {entry.observed}\n")


def _write_metrics(directory: str, status: Status) -> None:
    if not directory or not os.path.isdir(directory):
        return
    try:
        descriptor = safe_paths.open_directory(directory)
        try:
            text = metrics.render(status).encode()
            safe_paths.write_file(descriptor, metrics.NAME, text, os.geteuid(), os.getegid(), 0o644, sync=False)
        finally:
            os.close(descriptor)
    except OSError as error:
        sys.stderr.write(f"{directory}/{metrics.NAME} was not written: {error.strerror}\n")


def _deliver(settings: Settings, status: Status) -> Status:
    """Inform the webhook of what turned, where there is one. Return the status after that, which is written."""
    turned = turns.find_turned(status.checks)
    now = time.time()
    if not settings.webhook_file or status.phase or not turned or not turns.may_deliver(status.deliveries, now):
        return status
    # Only here: its imports are the larger part of what a run costs.
    from ansible_collections.noslop.studio.plugins.module_utils.monitor import webhook  # noqa: PLC0415

    try:
        target = json.loads(safe_paths.read_file(settings.webhook_file, 1 << 16))
        url, form = str(target["url"]), str(target["format"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"{settings.webhook_file} cannot be read: {type(error).__name__}\n")
        return status
    body = webhook.compose(form, status.host, status.studio_id, turned, len(status.bad))
    # A process without rights reads what the other side answers.
    outcome = run_one(lambda: webhook.send(url, body), NOBODY if os.geteuid() == 0 else None, DELIVERY_S)
    problem = outcome.error or str(outcome.value)
    if problem:
        sys.stderr.write(f"the webhook was not informed: {problem}\n")
    status = replace(
        status,
        checks=status.checks if problem else turns.mark_announced(status.checks, turned),
        deliveries=turns.add_delivery(status.deliveries, now, problem),
    )
    check_status.write(status, settings.status_directory)
    return status
