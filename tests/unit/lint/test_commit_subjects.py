# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that gitlint, with the repository's settings, accepts imperative subjects and rejects others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def lint(message: str) -> subprocess.CompletedProcess[str]:
    """Run gitlint on a message."""
    return subprocess.run(
        [sys.executable, "-m", "gitlint.cli", "--config", str(ROOT / ".gitlint")],
        input=message, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "subject", ["Mount each share once", "Pass values on", "Need ansible-core 2.19", "Add " + "x" * 68]
)
def test_imperative_subject_passes(subject: str) -> None:
    done = lint(subject)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("subject", "rule"),
    [
        ("Add " + "x" * 69, "T1"),
        ("Add a test.", "T3"),
        ("WIP: add a test", "T5"),
        ("Added a test", "T7"),
        ("Adding a test", "T7"),
        ("Adds a test", "T7"),
        ("The test of a share", "T7"),
        ("add a test", "T7"),
        ("Add it", "T8"),
    ],
)
def test_other_subject_is_rejected(subject: str, rule: str) -> None:
    done = lint(subject)
    assert done.returncode != 0
    assert f"1: {rule} " in done.stderr
