# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a sample of the fuzzing: the same examples each time. `make fuzz` looks for others."""

from __future__ import annotations

import pytest

from tests.backend import fuzz

#: Examples of each target, for some ten seconds each at most.
EXAMPLES = {"child": 300, "readers": 3000, "texts": 2000, "graph": 400, "history": 2000, "tar": 3000}


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_damaged_input_is_read_or_refused(target: str) -> None:
    for seed in range(EXAMPLES[target]):
        try:
            fuzz.run(target, seed)
        except Exception as error:
            raise AssertionError(f"python -m tests.backend.fuzz --target {target} --seed {seed}") from error
