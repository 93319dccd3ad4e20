# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that changes by hand of what NoSlop wrote are reported."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks import drift_checks, monitor_checks
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, is_note
from ansible_collections.noslop.studio.plugins.module_utils.host import written_files
from ansible_collections.noslop.studio.plugins.module_utils.host.check_status import Deliveries, Entry, Status
from ansible_collections.noslop.studio.plugins.module_utils.host.written_files import Record, Table

from tests.support.module_runner import run_module

TEXT = "# Managed by NoSlop\n[Service]\nExecStart=/bin/true\n"


def write(tmp_path: Path, *files: dict[str, Any], **more: object) -> dict[str, Any]:
    """Write files with the module, owned by the account of this test, and record them."""
    listed = [{"owner": tmp_path.owner(), "group": tmp_path.group(), **file} for file in files]
    return run_module("managed_files", {"files": listed, "record": str(tmp_path / "record.json"), **more})


def judge_files(tmp_path: Path) -> list[tuple[bool, str]]:
    checks = Checks("here")
    drift_checks.judge_files(checks, written_files.read(str(tmp_path / "record.json")))
    return [(check["ok"], check["seen"]) for check in checks.list]


def test_file_that_was_changed_or_removed_by_hand_is_named_until_it_is_written_again(tmp_path: Path) -> None:
    one, two = tmp_path / "one.service", tmp_path / "two.service"
    files = [{"dest": str(path), "content": TEXT} for path in (one, two)]
    assert write(tmp_path, *files)["changed"]
    assert judge_files(tmp_path) == [(True, "2 files are as they were written")]
    one.write_text(TEXT.replace("true", "false"))
    two.unlink()
    assert judge_files(tmp_path) == [(False, f"{one} was changed; {two} is missing")]
    assert write(tmp_path, *files)["changed"]
    assert judge_files(tmp_path) == [(True, "2 files are as they were written")]


def test_files_of_an_older_version_are_recorded_although_they_need_no_change(tmp_path: Path) -> None:
    file = {"dest": str(tmp_path / "one.service"), "content": TEXT}
    write(tmp_path, file)
    (tmp_path / "record.json").unlink()
    assert judge_files(tmp_path) == []
    assert not write(tmp_path, file)["changed"]
    assert judge_files(tmp_path) == [(True, "1 files are as they were written")]


def test_secrets_programs_and_removed_files_are_not_recorded(tmp_path: Path) -> None:
    secret, program, old = (str(tmp_path / name) for name in ("secret", "program.py", "old.service"))
    write(tmp_path, {"dest": old, "content": TEXT})
    files: list[dict[str, Any]] = [
        {"dest": secret, "secret": True},
        {"dest": program, "content": "pass\n"},
        {"dest": old, "state": "absent"},
    ]
    write(tmp_path, *files, secrets={secret: TEXT})
    assert written_files.read(str(tmp_path / "record.json")) == Record()


def test_check_mode_records_nothing(tmp_path: Path) -> None:
    arguments = {"files": [{"dest": str(tmp_path / "one"), "content": TEXT}], "record": str(tmp_path / "record.json")}
    assert run_module("managed_files", arguments, check=True)["changed"]
    assert list(tmp_path.iterdir()) == []


def judge_table(printed: str, version: str, recorded: Table | None) -> list[tuple[bool, bool]]:
    """Return whether the check passed, and whether it is a note."""
    checks = Checks("here")
    drift_checks.judge_table(checks, recorded, lambda: printed, lambda: version)
    return [(check["ok"], is_note(check)) for check in checks.list]


RECORDED = Table(written_files.digest(b"table inet x {}"), "nftables v1.0.6")


@pytest.mark.parametrize(
    ("printed", "version", "recorded", "result"),
    [
        ("table inet x {}", "nftables v1.0.6", RECORDED, [(True, False)]),
        ("table inet x {}", "nftables v1.1.3", RECORDED, [(True, False)]),
        ("table inet x { accept }", "nftables v1.0.6", RECORDED, [(False, False)]),
        ("table inet x { }", "nftables v1.1.3", RECORDED, [(True, True)]),
        ("table inet x {}", "nftables v1.0.6", None, []),
    ],
)
def test_changed_table_is_a_failure_unless_another_version_printed_it(
    printed: str, version: str, recorded: Table | None, result: list[tuple[bool, bool]]
) -> None:
    assert judge_table(printed, version, recorded) == result


BAD = Entry("storage.mounted", "projects", False, 5.0, 2, True, "nothing", "nfs4", "mount it")


def judge_monitor(finished: float | None, *entries: Entry, error: str = "") -> dict[str, Any]:
    status = None
    if finished is not None:
        deliveries = Deliveries([], 1, error) if error else Deliveries()
        status = Status("here", "studio", "boot", finished, 0.1, "", list(entries), deliveries=deliveries)
    checks = Checks("here")
    monitor_checks.judge_monitor(checks, status, now=time.time())
    (check,) = checks.list
    return dict(check)


def test_host_that_reported_a_moment_ago_passes_with_what_it_reported() -> None:
    check = judge_monitor(time.time(), BAD, error="hooks.lan answered 500")
    assert check["ok"]
    assert check["details"]["bad"] == [
        {"check": "storage.mounted", "share": "projects", "since": 5.0, "seen": "nothing"}
    ]
    assert "storage.mounted projects is bad; the webhook: hooks.lan answered 500" in check["seen"]


@pytest.mark.parametrize("age_s", [301, 86400, -400])
def test_host_that_has_not_reported_for_five_minutes_fails(age_s: float) -> None:
    check = judge_monitor(time.time() - age_s)
    assert not check["ok"]
    assert "systemctl status noslop-check.timer" in check["todo"]


def test_host_that_never_reported_fails() -> None:
    assert not judge_monitor(None)["ok"]
