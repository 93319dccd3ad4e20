# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the record of an older version is read, and that one of this version has the time of the comparison."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.models import record


def test_record_of_an_older_version_is_read(tmp_path: Path) -> None:
    old: dict[str, Any] = {"sha256": "a" * 64, "size": 1, "inode": 2, "changed_ns": 3, "url": "https://models.lan/a"}
    (tmp_path / record.FETCHED).write_text(json.dumps({"loras/a": old}))
    assert record.read(str(tmp_path)) == {"loras/a": record.Entry(**old, verified_at=0.0)}


def test_entry_has_the_time_of_the_comparison(tmp_path: Path) -> None:
    before = time.time()
    entry = record.make_entry("a" * 64, "", tmp_path.stat())
    assert before <= entry.verified_at <= time.time()
    record.write(str(tmp_path), {"a": entry})
    assert record.read(str(tmp_path)) == {"a": entry}
    assert entry.is_of(tmp_path.stat()) is False, "the record is a new file in the directory"
