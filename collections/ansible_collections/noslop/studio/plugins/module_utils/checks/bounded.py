# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the reading part of a verification within a bound, with its storage and its services side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.module_utils.checks.verification import Verification
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import run_all


def read_within(options: Mapping[str, Any], bound_s: float, *, writes: bool) -> dict[str, Any]:
    """Make every check of this host, and report the parts that did not end as a failed check.

    Args:
        options: the parameters of the module ``studio_check``.
        bound_s: seconds after which a part is killed.
        writes: whether this verification wrote nonces.
    """

    def start(part: str) -> dict[str, Any]:
        return Verification({**options, "scope": [part]}, writes=writes).read()

    works = {part: (lambda part=part: start(part)) for part in options["scope"]}
    outcomes = run_all(works, None, bound_s)
    checks = Checks(options["host"])
    for outcome in outcomes.values():
        checks.list += outcome.value["checks"] if outcome.value else []
    wrong = [f"the checks of its {part}: {outcome.error}" for part, outcome in outcomes.items() if outcome.error]
    if wrong:
        checks.add(
            "host.checks",
            False,
            seen="; ".join(wrong),
            expected=f"every check ends within {bound_s:g} s",
            todo=f"see what {checks.host} does: `systemctl --failed`, `journalctl -k -n 50`, `top`",
        )
    return {"checks": checks.list, "deployed": any((one.value or {}).get("deployed") for one in outcomes.values())}
