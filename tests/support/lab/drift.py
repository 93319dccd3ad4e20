# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plant changes on hosts as an administrator or an accident would, and read whether one look at a host notices them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check

LOOK = ("-m", "noslop.studio.deployed_state", "-a", "state=compared", "--become")
"""The words with which `ansible` looks at hosts once."""
AS_JSON = {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
"""The environment in which it prints what this module parses."""

_RESULT = re.compile(r"^(\S+) \| (\w+)!? => (?=\{)", re.MULTILINE)


@dataclass(frozen=True)
class Drift:
    """A change of a host by shell commands of root: one that makes it, and one that undoes it.

    `check` is that which notices it, and `word` is in what it prints. `mended` is a condition that holds before the
    change and after a deployment has mended it, and not between; empty where a deployment leaves the change.
    """

    plant: str
    undo: str
    check: str
    word: str
    mended: str = ""


def parse_looks(printed: str) -> dict[str, list[Check]]:
    """Return the checks of each host from what `ansible` printed. Fail where a host has no record or did not answer."""
    looks: dict[str, list[Check]] = {}
    for match in _RESULT.finditer(printed):
        result, _ = json.JSONDecoder().raw_decode(printed, match.end())
        assert result.get("deployment"), printed
        looks[match[1]] = result["checks"]
    assert looks, printed
    return looks


def list_failed(checks: list[Check]) -> dict[str, str]:
    """Return what was observed by each check that did not pass."""
    return {check["check"]: check["seen"] for check in checks if not check["ok"]}


def change_mode(path: str, mode: str, before: str) -> Drift:
    """Return a change of a mode below /etc, /opt or /var."""
    return Drift(
        f"chmod {mode} {path}",
        f"chmod {before} {path}",
        "deployed.files",
        path,
        f'[ "$(stat -c %a {path})" = {before} ]',
    )
