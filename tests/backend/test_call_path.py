# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call passes through no more files than it did: fewer is better, and then the number here goes down."""

from __future__ import annotations

from pathlib import Path

from tests.backend.call_path import count_deciding, trace_calls

#: All files, and those that decide what happens.
LIMITS = {"upload": (39, 19), "save": (33, 18), "trash": (24, 13), "reconcile": (21, 13)}


def test_a_call_passes_through_no_more_files_than_before(tmp_path: Path) -> None:
    calls = trace_calls(tmp_path)
    assert calls.keys() == LIMITS.keys()
    for name, (most, most_deciding) in LIMITS.items():
        paths = calls[name]
        assert (len(paths) <= most, count_deciding(paths) <= most_deciding) == (True, True), (name, paths)
