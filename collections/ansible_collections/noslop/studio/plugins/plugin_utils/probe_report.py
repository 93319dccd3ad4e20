# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the results of a probe of all hosts, file system by file system. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, Checks
from ansible_collections.noslop.studio.plugins.module_utils.probe import host_rules, rules
from ansible_collections.noslop.studio.plugins.module_utils.probe.requirements import Place
from ansible_collections.noslop.studio.plugins.plugin_utils import reports
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import studio_rules


def judge_results(
    hosts: Sequence[str],
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    shares: Iterable[Mapping[str, Any]],
    accounts: Iterable[Mapping[str, Any]],
) -> list[Check]:
    """Return the checks of all hosts.

    Args:
        hosts: all hosts that should have results.
        results: per host the results of C(measure) and C(meet) of the module existing_storage.
        shares: the shares, as the lookup returns them.
        accounts: the accounts, as the lookup returns them.
    """
    measured = {host: own["measured"] for host in hosts if (own := _find(results.get(host, ()), "measured"))}
    met = {host: own["met"] for host in hosts if (own := _find(results.get(host, ()), "met"))}
    checks = Checks(studio_rules.STUDIO)
    owners = studio.accounts_from_dicts(accounts)
    for share in shares:
        owner = owners[share.get("owner") or studio.PEOPLE]
        place = Place(share["name"], share["path"], owner.name, owner.uid, owner.gid)
        of_share = {host: own[place.share] for host, own in measured.items() if place.share in own}
        if of_share:
            meetings = {host: own[place.share] for host, own in met.items() if place.share in own}
            rules.judge(checks, place, of_share, meetings)
    for host in measured:
        errors = _find(results[host], "measured")["root_errors"]
        host_rules.judge_root(checks, host, errors)
    without = [host for host in hosts if host not in measured]
    return [*reports.gather(without, results), *checks.list]


def report_unmeasured() -> list[Check]:
    """Return the check that stands for a probe in check mode."""
    checks = Checks(studio_rules.STUDIO)
    checks.note(
        "probe.measured",
        seen="nothing was measured, because in check mode nothing is written",
        expected="a deployment measures the file system on every host before anything stands on it",
    )
    return checks.list


def _find(results: Iterable[Mapping[str, Any]], key: str) -> Mapping[str, Any]:
    return next((result for result in results if key in result), {})
