# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Format how far the downloads of models are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def format_rows(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a line for each model that is being fetched, and one for those that wait."""
    listed = list(rows)
    lines = [format_row(row) for row in listed if row["state"] == "fetching"]
    waiting = sum(row["state"] == "waiting" for row in listed)
    return [*lines, f"{waiting} more to go"] if waiting and lines else lines


def format_row(row: Mapping[str, Any]) -> str:
    """Return a model's bytes, rate and time left, as far as they are known.

    Args:
        row: what the module ``model_files`` returns with ``state: progress``.
    """
    received, size, rate = int(row["received"]), int(row["size"]), float(row["rate"])
    text = f"{row['path']}: {format_bytes(received)}"
    if size:
        text += f" of {format_bytes(size)} ({100 * received // size} %)"
    if rate >= 1:
        text += f", {format_bytes(rate)}/s"
        if size:
            text += f", {format_seconds((size - received) / rate)} left"
    return text


def format_bytes(count: float) -> str:
    """Return a number of bytes in decimal units, with a digit after the point from kilobytes on."""
    step = 0
    while count >= 1000 and step < len(_UNITS) - 1:
        count, step = count / 1000, step + 1
    return f"{count:.1f} {_UNITS[step]}" if step else f"{count:.0f} {_UNITS[0]}"


def format_seconds(seconds: float) -> str:
    """Return a time as text."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
