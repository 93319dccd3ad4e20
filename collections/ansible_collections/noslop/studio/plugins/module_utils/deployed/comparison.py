# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what a host is like with what it was after its last deployment. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, shorten
from ansible_collections.noslop.studio.plugins.module_utils.deployed import units
from ansible_collections.noslop.studio.plugins.module_utils.deployed.record import State

#: Properties whose values mean nothing to a reader.
_CHECKSUMS = frozenset({"content", "files", "file", "drop-ins"})
_SHOWN = 600


def find_differences(before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return what of one area is not as it was. What is new there is no difference: no deployment would remove it."""
    differences = []
    for name, properties in sorted(before.items()):
        present = after.get(name)
        if present is None:
            differences.append(f"{name} is missing")
            continue
        for one in sorted(properties.keys() | present.keys()):
            was, now = properties.get(one, ""), present.get(one, "")
            if was == now or _is_harmless(one, was, now):
                continue
            if one in _CHECKSUMS:
                differences.append(f"{name}: its {one} changed")
            else:
                differences.append(f"{name}: {one} is {now or 'nothing'}, and was {was or 'nothing'}")
    return differences


def _is_harmless(name: str, was: str, now: str) -> bool:
    """Return whether a unit only began to run, such as a socket's, or does not wait for a reload any more."""
    return (name == units.ACTIVE and was != "active") or (name == units.RELOAD and now != "yes")


def judge(checks: Checks, before: State, after: State) -> None:
    """Check each area by itself."""
    for area, entries in before.items():
        differences = find_differences(entries, after.get(area, {}))
        checks.add(
            f"deployed.{area}",
            not differences,
            seen=shorten("; ".join(differences), _SHOWN) or f"{len(entries)} as they were",
            expected="as it was after the last deployment",
            todo="deploy, which makes it as the inventory says",
        )
