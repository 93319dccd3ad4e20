# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the results of a run as the text that Prometheus reads (its exposition format, version 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ansible_collections.noslop.studio.plugins.module_utils.host.check_status import Status

#: A file of Debian's node exporter: it reads each ``*.prom`` in its directory.
NAME = "noslop.prom"
PHASES = ("starting", "deploying")


def render(status: Status) -> str:
    """Return the metrics of a run. What was observed is no label: it would make a new series each time."""
    lines = _family(
        "noslop_check_ok",
        "Whether a check of this host passed: 1, or 0.",
        (({"check": entry.check, "share": entry.share}, int(entry.ok)) for entry in status.checks),
    )
    lines += _family(
        "noslop_check_since_timestamp_seconds",
        "When the check became what it is.",
        (({"check": entry.check, "share": entry.share}, round(entry.since, 3)) for entry in status.checks),
    )
    lines += _family(
        "noslop_check_write_seconds",
        "How long a small file took until it was on the disk of the share.",
        (({"share": share}, round(seconds, 6)) for share, seconds in status.write_s.items()),
    )
    lines += _family(
        "noslop_check_excused",
        "Whether failed checks count for nothing now: the host starts, or is being changed.",
        (({"reason": phase}, int(status.phase == phase)) for phase in PHASES),
    )
    lines += _family("noslop_check_last_run_timestamp_seconds", "When the checks ended.", [({}, status.finished)])
    lines += _family("noslop_check_duration_seconds", "How long the checks took.", [({}, round(status.duration_s, 3))])
    return "".join(f"{line}\n" for line in lines)


def _family(name: str, description: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> list[str]:
    lines = [f"# HELP {name} {description}", f"# TYPE {name} gauge"]
    for labels, value in samples:
        pairs = ",".join(f'{label}="{escape(text)}"' for label, text in labels.items())
        lines.append(f"{name}{{{pairs}}} {value}" if pairs else f"{name} {value}")
    return lines


def escape(text: str) -> str:
    """Return the value of a label as it stands between quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
