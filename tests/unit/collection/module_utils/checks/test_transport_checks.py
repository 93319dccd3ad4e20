# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the checks of the handshake service and of the certificates, with real certificates."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import transport_checks
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, Checks, is_note
from ansible_collections.noslop.studio.plugins.module_utils.checks.transport_checks import Observed
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Unit
from ansible_collections.noslop.studio.plugins.module_utils.nfs import certificates

FILES = certificates.list_files(studio.TLS_DIR)
COMMAND = f"ExecStart={{ path=/usr/sbin/tlshd ; argv[]=/usr/sbin/tlshd --config {studio.TLS_DIR}/tlshd.conf ; }}"
RUNNING = Unit(studio.TLSHD_UNIT, "loaded", "active", "enabled")
GOOD = Observed(RUNNING, COMMAND, [], 800.0)
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="the files belong to root")


def judge(observed: Observed, *, made: bool = True) -> dict[str, Check]:
    checks = Checks("worker1")
    transport_checks.judge_transport(checks, observed, FILES, made=made)
    return {check["check"]: check for check in checks.list}


def test_working_host_passes() -> None:
    assert all(check["ok"] and not is_note(check) for check in judge(GOOD).values())
    assert len(judge(GOOD)) == 3


@pytest.mark.parametrize(
    ("unit", "command", "seen"),
    [
        (Unit(studio.TLSHD_UNIT, "loaded", "failed", result="exit-code"), COMMAND, "is failed (exit-code)"),
        (Unit(studio.TLSHD_UNIT), COMMAND, "is not-found"),
        (RUNNING, "ExecStart={ path=/usr/sbin/tlshd }", "with other settings than the studio's"),
        (dataclasses.replace(RUNNING, stale=True), COMMAND, "with other settings than the studio's"),
    ],
)
def test_service_that_does_not_run_with_the_studios_settings_fails(unit: Unit, command: str, seen: str) -> None:
    check = judge(dataclasses.replace(GOOD, unit=unit, command=command))["storage.tls_service"]

    assert not check["ok"]
    assert seen in check["seen"]
    assert "run the storage playbook again for worker1" in check["todo"]


@pytest.mark.parametrize(
    ("days", "ok", "noted", "seen"),
    [
        (31.0, True, False, "31 days left"),
        (29.0, True, True, "29 days left"),
        (-3.0, False, False, "expired 3 days ago"),
    ],
)
def test_days_that_are_left_are_checked(days: float, ok: bool, noted: bool, seen: str) -> None:
    check = judge(dataclasses.replace(GOOD, days=days))["storage.certificate_days"]

    assert (check["ok"], is_note(check)) == (ok, noted)
    assert seen in check["seen"]


def test_own_certificates_are_mended_by_their_user() -> None:
    checks = judge(dataclasses.replace(GOOD, days=-1.0, problems=["it is damaged"]), made=False)

    assert checks["storage.certificate"]["todo"] == "put the right files there on worker1"
    assert "put a new one" in checks["storage.certificate_days"]["todo"]


def make_files(directory: Path) -> certificates.TlsFiles:
    files = certificates.list_files(str(directory))
    for path, mode in ((files.authority, 0o644), (files.certificate, 0o644), (files.key, 0o600)):
        Path(path).write_text("-----BEGIN CERTIFICATE-----\n")
        os.chmod(path, mode)
    return files


@root_only
def test_files_of_root_have_no_problem(tmp_path: Path) -> None:
    assert transport_checks.find_file_problems(make_files(tmp_path), made=True) == []


@root_only
def test_file_that_is_missing_readable_for_others_or_a_link_is_named(tmp_path: Path) -> None:
    files = make_files(tmp_path)
    os.unlink(files.authority)
    os.chmod(files.key, 0o640)
    os.rename(files.certificate, tmp_path / "elsewhere.pem")
    os.symlink(tmp_path / "elsewhere.pem", files.certificate)

    assert transport_checks.find_file_problems(files, made=True) == [
        f"{files.authority}: No such file or directory",
        f"{files.certificate} is no regular file",
        f"others than root may read {files.key} (mode 0640)",
    ]


@root_only
def test_second_authority_is_named_unless_the_user_chose_it(tmp_path: Path) -> None:
    files = make_files(tmp_path)
    Path(files.authority).write_text("-----BEGIN CERTIFICATE-----\n" * 2)

    assert transport_checks.find_file_problems(files, made=True) == [
        f"{files.authority} has 2 certificates, and not the studio's alone"
    ]
    assert transport_checks.find_file_problems(files, made=False) == []


@pytest.mark.parametrize(
    "options", [{"transport": "plain", "provider": "nfs"}, {"transport": "mtls", "provider": "existing"}]
)
def test_studio_without_tls_has_no_such_check(options: dict[str, str]) -> None:
    checks = Checks("worker1")

    transport_checks.check_where_used(checks, options)

    assert checks.list == []


@pytest.mark.parametrize(("days", "ok"), [(800.0, True), (60.0, True), (59.9, False), (-1.0, False), (None, False)])
def test_certificate_that_the_next_deployment_renews_is_a_difference(days: float | None, ok: bool) -> None:
    checks = Checks("worker1")
    transport_checks.judge_renewal(checks, days)
    assert [(check["check"], check["ok"]) for check in checks.list] == [("deployed.certificate", ok)]


@pytest.mark.parametrize(
    "options",
    [
        {"transport": "plain", "provider": "nfs", "tls_files": {}},
        {"transport": "tls", "provider": "existing", "tls_files": {}},
        {"transport": "tls", "provider": "nfs", "tls_files": {"authority": "/a", "certificate": "/c", "key": "/k"}},
    ],
)
def test_renewal_is_checked_only_where_noslop_makes_the_certificates(options: dict[str, object]) -> None:
    checks = Checks("worker1")
    transport_checks.check_renewal(checks, options)
    assert checks.list == []
