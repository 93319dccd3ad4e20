# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a probe of several hosts in processes of this machine, each with a directory of its own as its mount."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, Checks
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import run_all
from ansible_collections.noslop.studio.plugins.module_utils.probe import (
    directory,
    features,
    meeting,
    requirements,
    rules,
    speed,
)

STUDIO_ID = "atelier"
#: Bytes of the large file: enough for a rate, and quick.
LARGE_BYTES = 2 * 1024 * 1024


def probe(shares: Mapping[str, Path], *, timeout_s: float = 200) -> list[Check]:
    """Probe one file system from several hosts, by the path under which each sees it; the first one leads."""
    name = directory.make_name(STUDIO_ID)
    first = next(iter(shares))
    hosts = list(shares)
    directory.remove_all(str(shares[first]), STUDIO_ID)
    directory.make(str(shares[first]), name)

    def party(host: str) -> meeting.Party:
        return meeting.Party(host, hosts, "run")

    def measure(host: str) -> dict[str, Any]:
        with directory.open_path(str(shares[host])) as share, directory.open_below(share, name) as inside:
            own = f"own.{hosts.index(host)}"
            os.mkdir(own, dir_fd=inside)
            with directory.open_below(inside, own) as place:
                tested = features.test_features(place)
                measured = speed.measure_speed(place, small_files=20, large_bytes=LARGE_BYTES)
            meeting.write_greeting(inside, party(host), links=not tested["hard_links"], symlinks=not tested["symlinks"])
        return {"features": tested, "speed": measured}

    measured = _run(hosts, measure, timeout_s)

    present = {host: one["features"] for host, one in measured.items() if "features" in one}

    def meet(host: str) -> dict[str, Any]:
        whole = dataclasses.replace(
            party(host),
            present=list(present),
            linking=[one for one, tested in present.items() if not tested["hard_links"]],
            symlinking=[one for one, tested in present.items() if not tested["symlinks"]],
            participants=list(present),
        )
        with directory.open_path(str(shares[host])) as share, directory.open_below(share, name) as inside:
            return {"meeting": meeting.Meet(inside, whole).run()}

    met = _run(hosts, meet, timeout_s)
    directory.remove(str(shares[first]), name)
    place = requirements.Place("projects", str(shares[first]), "noslop", os.geteuid(), os.getegid())
    checks = Checks("studio")
    rules.judge(checks, place, measured, met)
    return checks.list


def _run(hosts: list[str], work: Callable[[str], Any], timeout_s: float) -> dict[str, Any]:
    outcomes = run_all({host: functools.partial(work, host) for host in hosts}, None, timeout_s)
    return {host: one.value or {"error": one.error} for host, one in outcomes.items()}
