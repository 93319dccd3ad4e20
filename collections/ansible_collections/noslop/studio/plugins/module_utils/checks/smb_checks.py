# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the server of the shares for Windows and macOS: what listens, by which configuration, and whom it refuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, enumerate_words, shorten
from ansible_collections.noslop.studio.plugins.module_utils.checks.storage_checks import describe_unit, rerun_step
from ansible_collections.noslop.studio.plugins.module_utils.host import processes, sockets, state
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Unit
from ansible_collections.noslop.studio.plugins.module_utils.smb import negotiation, samba_settings
from ansible_collections.noslop.studio.plugins.module_utils.smb.smb_share import SmbShare

LOOPBACK = "127.0.0.1"
TIMEOUT_S = 5.0
#: Ports of NetBIOS: SMB over TCP needs none of them.
NETBIOS_PORTS = (137, 138, 139)
#: What smbclient(1) prints where a server refuses.
_REFUSAL = "NT_STATUS_"


@dataclass(frozen=True)
class Expected:
    """The shares that a studio serves, to whom and how."""

    shares: Sequence[SmbShare]
    users: Sequence[str]
    encryption: str


@dataclass(frozen=True)
class Observed:
    """The state of the server, as it was read.

    ``anonymous`` is what smbclient printed without a name, empty where it is missing.

    ``old`` and ``new`` are the dialects that the server chose when it was offered old and new ones, and ``smb1`` is
    whether it accepts SMB1; ``error`` is why nothing answered.
    """

    unit: Unit
    listening: Sequence[processes.Process]
    listeners: Iterable[sockets.Listener]
    settings: samba_settings.Settings
    old: str = ""
    new: str = ""
    smb1: bool = False
    error: str = ""
    anonymous: str = ""


def check_where_served(checks: Checks, options: Mapping[str, Any]) -> None:
    """Read the state of the server, and judge it, on a host that serves the shares over SMB.

    Args:
        checks: where the results go.
        options: of the module ``studio_check``: ``smb``, ``smb_shares``, ``smb_users`` and ``smb_encryption``.
    """
    if options.get("smb"):
        shares = [SmbShare(**share) for share in options["smb_shares"]]
        expected = Expected(shares, options["smb_users"], options["smb_encryption"])
        judge_smb(checks, expected, _observe(expected))


def judge_smb(checks: Checks, expected: Expected, observed: Observed) -> None:
    """Check that the studio's server, and no other, serves these shares to these users, and refuses others."""
    again = rerun_step(checks.host)
    foreign = [one.describe() for one in observed.listening if one.unit != studio.SMB_UNIT]
    running = checks.add(
        "storage.smb",
        observed.unit.active == "active" and not foreign and not observed.error,
        seen="; ".join(
            [
                describe_unit(observed.unit),
                *(f"port {studio.SMB_PORT} is held by {one}" for one in foreign),
                *([f"port {studio.SMB_PORT}: {observed.error}"] if observed.error else []),
            ]
        ),
        expected=f"{studio.SMB_UNIT} is active and answers on port {studio.SMB_PORT}",
        todo=f"run `journalctl -u {studio.SMB_UNIT}` on {checks.host}, and then {again}",
    )
    problems = samba_settings.find_problems(observed.settings, expected.shares, expected.users, expected.encryption)
    names = enumerate_words(share.name for share in expected.shares)
    checks.add(
        "storage.smb_settings",
        not problems,
        seen="; ".join(problems) or f"{names}, for {enumerate_words(expected.users)}",
        expected=f"{names} and nothing else, as the studio's variables say",
        todo=f"{again}, which writes {studio.SMB_CONF_FILE} anew",
    )
    netbios = sorted({str(one) for one in observed.listeners if one.port in NETBIOS_PORTS and not one.is_loopback})
    checks.add(
        "storage.smb_ports",
        not netbios,
        seen=enumerate_words(netbios, f"nothing of SMB but port {studio.SMB_PORT}"),
        expected="nothing listens on the ports of NetBIOS (137 to 139)",
        todo=f"run `systemctl disable --now nmbd smbd` on {checks.host}",
    )
    if not running:
        return
    spoken = [
        word for word, is_spoken in (("SMB 1", observed.smb1), (f"SMB {observed.old}", observed.old)) if is_spoken
    ]
    checks.add(
        "storage.smb_dialects",
        bool(observed.new) and not spoken,
        seen=f"speaks {enumerate_words([*spoken, *([f'SMB {observed.new}'] if observed.new else [])])}",
        expected="SMB 3, and nothing older",
        todo=again,
    )
    if observed.anonymous:
        checks.add(
            "storage.smb_anonymous",
            _REFUSAL in observed.anonymous,
            seen=shorten(observed.anonymous.strip().splitlines()[-1]),
            expected="no list of shares without a name and a password",
            todo=again,
        )


def _observe(expected: Expected) -> Observed:
    unit = state.read_units([studio.SMB_UNIT])[studio.SMB_UNIT]
    answers: Mapping[str, str | bool] = {}
    error = ""
    try:
        answers = {
            "old": negotiation.negotiate(LOOPBACK, studio.SMB_PORT, negotiation.OLD, TIMEOUT_S),
            "new": negotiation.negotiate(LOOPBACK, studio.SMB_PORT, negotiation.NEW, TIMEOUT_S),
            "smb1": negotiation.offers_smb1(LOOPBACK, studio.SMB_PORT, TIMEOUT_S),
        }
    except OSError as failure:
        error = str(failure.strerror or failure)
    share = expected.shares[0].name if expected.shares else "IPC$"
    return Observed(
        unit=unit,
        listening=processes.find_listeners(studio.SMB_PORT),
        listeners=sockets.read_listeners(),
        settings=samba_settings.parse_testparm(
            state.run_program("testparm", "--suppress-prompt", "--verbose", studio.SMB_CONF_FILE)
        ),
        old=str(answers.get("old", "")),
        new=str(answers.get("new", "")),
        smb1=bool(answers.get("smb1", False)),
        error=error,
        anonymous=state.run_program("smbclient", f"//{LOOPBACK}/{share}", "--no-pass", "--command", "ls"),
    )
