# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what verification reports of the server for Windows and macOS."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.checks import smb_checks
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.module_utils.host.processes import Process
from ansible_collections.noslop.studio.plugins.module_utils.host.sockets import Listener
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Unit
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account
from ansible_collections.noslop.studio.plugins.module_utils.smb import samba_settings
from ansible_collections.noslop.studio.plugins.module_utils.smb.smb_share import SmbShare

from tests.support.samba import render_template

SHARES = [
    SmbShare("projects", "/mnt/noslop/projects", "noslop", True),
    SmbShare("comfyui_models", "/mnt/noslop/comfyui/models", "noslop-models", False),
]
EXPECTED = smb_checks.Expected(SHARES, ["anna", "bert"], "offered")
SMBD = Process(7, 1, Account(0, 0), ("/usr/sbin/smbd",), "/", unit="noslop-smb.service")


@pytest.fixture(scope="module")
def observed() -> smb_checks.Observed:
    """Return what a healthy server shows, with the configuration that the role writes."""
    shares = [vars(share) for share in SHARES]
    text = render_template("smb.conf.j2", smb_server_shares=shares, smb_server_networks=["10.0.0.0/24"])
    text = text.replace("include = /etc/noslop/smb-users.conf", "valid users = anna bert")
    text = text.replace("smb3_00", "SMB3_00").replace("= mandatory", "= required")
    return smb_checks.Observed(
        unit=Unit("noslop-smb.service", "loaded", "active", "enabled"),
        listening=[SMBD],
        listeners=[Listener("tcp", "0.0.0.0", 445, "1"), Listener("udp", "127.0.0.1", 137, "2")],
        settings=samba_settings.parse_testparm(text),
        new="3.0.2",
        anonymous="tree connect failed: NT_STATUS_ACCESS_DENIED\n",
    )


def judge(observed: smb_checks.Observed, expected: smb_checks.Expected = EXPECTED) -> dict[str, str]:
    """Return what was seen, by the name of each check that failed."""
    checks = Checks("server")
    smb_checks.judge_smb(checks, expected, observed)
    return {check["check"]: check["seen"] for check in checks.list if not check["ok"]}


def test_healthy_server_passes(observed: smb_checks.Observed) -> None:
    assert judge(observed) == {}


def test_stopped_server_fails(observed: smb_checks.Observed) -> None:
    unit = Unit("noslop-smb.service", "loaded", "failed", "enabled", result="exit-code")
    failed = judge(replace(observed, unit=unit, listening=[], error="Connection refused", new="", anonymous=""))
    assert list(failed) == ["storage.smb"]
    assert "failed (exit-code)" in failed["storage.smb"]
    assert "Connection refused" in failed["storage.smb"]


def test_another_server_on_the_port_fails(observed: smb_checks.Observed) -> None:
    assert (
        "held by process 7" in judge(replace(observed, listening=[replace(SMBD, unit="smbd.service")]))["storage.smb"]
    )


def test_open_netbios_fails(observed: smb_checks.Observed) -> None:
    failed = judge(replace(observed, listeners=[Listener("tcp", "0.0.0.0", 139, "1")]))
    assert failed == {"storage.smb_ports": "tcp 0.0.0.0:139"}


def test_old_dialect_or_none_fails(observed: smb_checks.Observed) -> None:
    for wrong in (replace(observed, smb1=True), replace(observed, old="2.1"), replace(observed, new="")):
        assert list(judge(wrong)) == ["storage.smb_dialects"]


def test_list_without_a_name_fails(observed: smb_checks.Observed) -> None:
    assert list(judge(replace(observed, anonymous="  .   D  0\n"))) == ["storage.smb_anonymous"]


@pytest.mark.parametrize(
    ("section", "name", "value", "words"),
    [
        ("global", "server min protocol", "smb2", "server min protocol is smb2, not smb3_00"),
        ("global", "server smb encrypt", "off", "server smb encrypt is off"),
        ("global", "oplocks", "yes", "oplocks is yes"),
        ("projects", "force user", "root", "[projects] force user is root, not noslop"),
        ("projects", "guest ok", "yes", "[projects] guest ok is yes"),
        ("comfyui_models", "read only", "no", "[comfyui_models] read only is no, not yes"),
        ("projects", "valid users", "anna bert carl", "[projects] is for anna, bert, carl"),
        ("projects", "valid users", "", "[projects] is for everybody"),
        ("homes", "path", "/home", "another share homes"),
    ],
)
def test_configuration_that_differs_fails(
    observed: smb_checks.Observed, section: str, name: str, value: str, words: str
) -> None:
    settings = {**observed.settings, section: {**observed.settings.get(section, {}), name: value}}
    failed = judge(replace(observed, settings=settings))
    assert words in failed["storage.smb_settings"]


def test_missing_configuration_fails(observed: smb_checks.Observed) -> None:
    assert "no share projects" in judge(replace(observed, settings={}))["storage.smb_settings"]
