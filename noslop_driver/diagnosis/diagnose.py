# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Group what is wrong with a studio into causes: each fault once, with the checks that failed by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, parse_area
from ansible_collections.noslop.studio.plugins.plugin_utils import reports

from noslop_driver.diagnosis import (
    host_rules,
    mount_rules,
    network_rules,
    service_rules,
    storage_rules,
    unit_rules,
)
from noslop_driver.diagnosis.case import Case
from noslop_driver.diagnosis.cause import Cause, Layer, Remedy, Risk

RULES: Sequence[Callable[[Case], Iterator[Cause]]] = (
    host_rules.find_login_causes,
    network_rules.find_network_causes,
    host_rules.find_clock_causes,
    storage_rules.find_disk_causes,
    storage_rules.find_tree_causes,
    mount_rules.find_marker_causes,
    unit_rules.find_unit_causes,
    storage_rules.find_export_causes,
    host_rules.find_certificate_causes,
    service_rules.find_firewall_causes,
    network_rules.find_foreign_rules,
    mount_rules.find_mount_causes,
    service_rules.find_card_causes,
    service_rules.find_backend_causes,
    service_rules.find_node_causes,
    host_rules.find_name_causes,
)
_LAYERS = {
    "host": Layer.MODELS,
    "server": Layer.SERVER,
    "firewall": Layer.FIREWALL,
    "storage": Layer.MOUNT,
    "smb": Layer.SERVICE,
    "services": Layer.SERVICE,
}


def diagnose(case: Case) -> list[Cause]:
    """Return the causes, those with consequences in others first.

    A failed check belongs to the first cause that explains it. One that none explains is a cause of its own, with the
    next step that the check names.
    """
    causes = sorted((cause for rule in RULES for cause in rule(case)), key=lambda cause: cause.layer)
    remaining = list(case.failed)
    explained = []
    for cause in causes:
        own = [check for check in remaining if any(scope.matches(check) for scope in cause.explains)]
        remaining = [check for check in remaining if check not in own]
        explained.append(replace(cause, consequences=own))
    unexplained = [_make_unrecognised(hosts, check, remaining) for hosts, check in reports.merge_hosts(remaining)]
    return sorted([*explained, *unexplained], key=lambda cause: (not cause.urgent, cause.layer, not cause.recognised))


def works(causes: Iterable[Cause]) -> bool:
    """Return whether a studio with these causes works: nothing suffers from one yet."""
    return not any(cause.urgent for cause in causes)


def _make_unrecognised(hosts: list[str], check: Check, failed: Sequence[Check]) -> Cause:
    same = [
        one
        for one in failed
        if one["host"] in hosts
        and (one["check"], one["share"], one["seen"]) == (check["check"], check["share"], check["seen"])
    ]
    share = f" ({check['share']})" if check["share"] else ""
    return Cause(
        "unrecognised",
        ", ".join(hosts),
        _LAYERS.get(parse_area(check["check"]), Layer.SERVICE),
        f"{check['check']}{share}: {check['seen']}",
        [f"expected: {check['expected']}"],
        Remedy(check["todo"], Risk.RESTART, works_now=True),
        consequences=same,
        recognised=False,
    )
