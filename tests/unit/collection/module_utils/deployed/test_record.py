# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the record of the last deployment of a host: it is root's, and a run that begins replaces it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.deployed import record
from ansible_collections.noslop.studio.plugins.module_utils.deployed.record import Deployed

DEPLOYED = Deployed(
    "abc", {"inventory": "1"}, "2026-01-01T00:00:00Z", {"host": "one"}, "00", {"units": {"a": {"b": "c"}}}
)


def test_record_is_read_as_it_was_written_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = str(tmp_path / "deployed.json")
    assert record.read(path) is None
    record.write(DEPLOYED, path)
    assert record.read(path) == DEPLOYED
    assert record.read_run(path) == ""
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600


def test_run_that_begins_replaces_the_record_by_its_name(tmp_path: Path) -> None:
    path = str(tmp_path / "deployed.json")
    record.write(DEPLOYED, path)
    record.invalidate("run 1", path)
    assert (record.read(path), record.read_run(path)) == (None, "run 1")
    record.invalidate("run 2", path)
    assert record.read_run(path) == "run 2"
    record.write(DEPLOYED, path)
    assert record.read(path) == DEPLOYED


def test_host_without_the_directory_of_the_record_stays_as_it_is(tmp_path: Path) -> None:
    path = str(tmp_path / "missing/deployed.json")
    record.invalidate("run 1", path)
    record.remove(path)
    assert (record.read(path), record.read_run(path)) == (None, "")
    assert list(tmp_path.iterdir()) == []


def test_removed_record_is_gone_and_removing_it_again_is_no_error(tmp_path: Path) -> None:
    path = str(tmp_path / "deployed.json")
    record.write(DEPLOYED, path)
    record.remove(path)
    record.remove(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"deployed": null}', '{"deployed": {"other": 1}}'])
def test_file_that_is_no_record_counts_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deployed.json"
    path.write_text(text)
    assert (record.read(str(path)), record.read_run(str(path))) == (None, "")


def test_link_in_place_of_the_record_is_not_followed(tmp_path: Path) -> None:
    record.write(DEPLOYED, str(tmp_path / "real.json"))
    (tmp_path / "deployed.json").symlink_to("real.json")
    assert record.read(str(tmp_path / "deployed.json")) is None
    record.invalidate("run 1", str(tmp_path / "deployed.json"))
    assert record.read(str(tmp_path / "real.json")) == DEPLOYED
