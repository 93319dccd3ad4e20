# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide from one look at each host whether a deployment has something to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, enumerate_words, shorten

from noslop_driver.hosts.deployed_run import HostLook
from noslop_driver.inventory.fingerprint import INVENTORY, MADE, NAMED, PROGRAM, Fingerprint

_CHANGED = {
    INVENTORY: "the inventory has changed",
    PROGRAM: "NoSlop or Ansible has changed",
    NAMED: "a file that a variable names has changed",
    MADE: "a file of the studio's directory has changed",
}
"""Why a deployment is needed, by the part of the fingerprint that differs."""


class Need(StrEnum):
    """The need for a deployment."""

    NOTHING = "nothing"
    DRIFT = "drift"
    """The inventory is the deployed one, and a host is not as it was."""
    EVERYTHING = "everything"


@dataclass(frozen=True)
class Decision:
    """The need for a deployment, and why; with the checks that did not pass."""

    need: Need
    reason: str
    drift: Sequence[Check] = ()


def decide(fingerprint: Fingerprint, looks: Sequence[HostLook], computed: Iterable[str] = ()) -> Decision:
    """Return what a deployment has to do.

    Args:
        fingerprint: that of a deployment now.
        looks: one for each host of the inventory.
        computed: variables whose values may be others in each run, so that the fingerprint says nothing.
    """
    reason = _find_reason_for_everything(fingerprint, looks, sorted(computed))
    if reason:
        return Decision(Need.EVERYTHING, reason)
    drift = list_drift(looks)
    if drift:
        hosts = enumerate_words(dict.fromkeys(check["host"] for check in drift))
        return Decision(Need.DRIFT, f"{hosts} changed since the last deployment", drift)
    return Decision(Need.NOTHING, "every host is as the inventory says")


def list_drift(looks: Iterable[HostLook]) -> list[Check]:
    """Return the checks that did not pass: what differs on each host from its last deployment."""
    return [check for look in looks for check in look.checks if not check["ok"]]


def _find_reason_for_everything(fingerprint: Fingerprint, looks: Sequence[HostLook], computed: Sequence[str]) -> str:
    """Return why the hosts cannot be compared with a deployment of this fingerprint; empty if they can."""
    if computed:
        return f"the inventory computes {enumerate_words(computed)} anew in each run"
    if errors := [f"{look.host} ({shorten(look.error)})" for look in looks if look.error]:
        return f"these hosts could not be compared: {'; '.join(errors)}"
    if missing := [look.host for look in looks if not look.deployment]:
        return f"there is no record of a whole deployment on {enumerate_words(missing)}, or another run has begun since"
    if len({look.deployment for look in looks}) != 1:
        return "the hosts have records of different deployments"
    if changed := _list_changes(fingerprint, looks):
        return f"{' and '.join(changed)} since the last deployment"
    return ""


def _list_changes(fingerprint: Fingerprint, looks: Iterable[HostLook]) -> list[str]:
    changed: Mapping[str, None] = {
        part: None
        for look in looks
        for part in {**fingerprint, **look.fingerprint}
        if _differs(part, fingerprint, look)
    }
    return [_CHANGED.get(part, f"{part} has changed") for part in changed]


def _differs(part: str, fingerprint: Fingerprint, look: HostLook) -> bool:
    return fingerprint.get(part) != look.fingerprint.get(part)
