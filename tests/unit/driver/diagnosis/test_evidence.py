# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test reading evidence, of which a host may return anything."""

from __future__ import annotations

from typing import Any

import pytest

from noslop_driver.diagnosis.evidence import read_evidence
from tests.support.doctor_cases import make_healthy


def test_evidence_of_healthy_hosts_is_read() -> None:
    evidence, errors = read_evidence(make_healthy())
    assert (set(evidence), errors) == ({"server", "worker1", "worker2"}, {})


def test_parts_that_did_not_answer_may_be_missing() -> None:
    evidence, errors = read_evidence({"one": {"unanswered": {"cards": "no answer within 8 s"}}})
    assert not errors
    assert (evidence["one"].way, evidence["one"].units) == (None, {})


@pytest.mark.parametrize(
    "result",
    [
        None,
        "text",
        [],
        {"units": []},
        {"units": {"a": {"restarts": "many"}}},
        {"failed_units": ["x" * 1000]},
        {"disks": [{}] * 1000},
        {"ports": {"ollama": {}}},
    ],
)
def test_anything_else_is_an_error_of_this_host_alone(result: Any) -> None:  # noqa: ANN401 - any JSON
    evidence, errors = read_evidence({**make_healthy(), "worker1": result})
    assert set(evidence) == {"server", "worker2"}
    assert errors["worker1"].startswith("it returned something else than evidence")
