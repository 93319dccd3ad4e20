# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the metrics of a run are what a parser of Prometheus reads from them."""

from __future__ import annotations

from ansible_collections.noslop.studio.plugins.module_utils.host.check_status import Entry, Status
from ansible_collections.noslop.studio.plugins.module_utils.monitor import metrics
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

#: A file system can have each of these in a path; what separates lines for Python is only one of them for Prometheus.
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]) | st.sampled_from('"\\\n{},= '))
TIMES = st.floats(0, 4e9)


def make_status(entries: list[Entry], write_s: dict[str, float], phase: str = "") -> Status:
    return Status("here", "studio", "boot", 1700000000.25, 0.125, phase, entries, write_s)


@given(st.dictionaries(st.tuples(TEXTS, TEXTS), st.tuples(st.booleans(), TIMES), max_size=4))
def test_every_check_is_read_with_its_labels(checks: dict[tuple[str, str], tuple[bool, float]]) -> None:
    entries = [
        Entry(name, share, ok, since, 0, False, "what\nwas {observed}", "", "")
        for (name, share), (ok, since) in checks.items()
    ]
    text = metrics.render(make_status(entries, {"projects": 0.0105}, "deploying"))
    families = {family.name: family.samples for family in text_string_to_metric_families(text)}
    read = {(one.labels["check"], one.labels["share"]): one.value for one in families["noslop_check_ok"]}
    assert read == {key: float(ok) for key, (ok, __) in checks.items()}
    assert [one.value for one in families["noslop_check_write_seconds"]] == [0.0105]
    assert {one.labels["reason"]: one.value for one in families["noslop_check_excused"]} == {
        "starting": 0,
        "deploying": 1,
    }
    assert "observed" not in text


def test_first_run_has_its_time_and_nothing_more() -> None:
    text = metrics.render(make_status([], {}))
    assert "\nnoslop_check_last_run_timestamp_seconds 1700000000.25\n" in text
    assert text.endswith("\nnoslop_check_duration_seconds 0.125\n")
