# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test hosts that have different directories under one path: each says so, and waits no longer than for a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.probe_hosts import probe


@pytest.mark.slow
@pytest.mark.long
def test_different_directories_are_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name / ".noslop-probe-atelier").mkdir(parents=True)

    checks = probe({"server": tmp_path / "one", "worker": tmp_path / "other"})

    failed = {(one["check"], one["host"]): one["seen"] for one in checks if not one["ok"]}
    assert failed == {
        ("probe.content", "server"): "from worker: here.1: No such file or directory",
        ("probe.content", "worker"): "from server: here.0: No such file or directory",
    }
