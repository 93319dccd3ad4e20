# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find variables that were almost given the name of one that is read. Ansible passes over unknown names. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: How alike two names must be, apart from what they begin with: one letter in five may be wrong.
LIKENESS = 0.8


def find_misspelled(names: Iterable[str], declared: Iterable[str], prefixes: Iterable[str]) -> dict[str, str]:
    """Find names that look like slips of known ones.

    Args:
        names: variables that a host has.
        declared: variables that are read.
        prefixes: beginnings that make a name ours, like ``noslop_``. Of several that fit the longest counts.

    Returns:
        Each suspicious name, with the known one that it resembles most.
    """
    declared_names = set(declared)
    beginnings = sorted(prefixes, key=len, reverse=True)
    misspelled: dict[str, str] = {}
    for name in sorted(set(names) - declared_names):
        prefix = next((one for one in beginnings if name.startswith(one)), None)
        if prefix is None:
            continue
        ends = {one[len(prefix) :] for one in declared_names if one.startswith(prefix)}
        alike = difflib.get_close_matches(name[len(prefix) :], sorted(ends), n=1, cutoff=LIKENESS)
        if alike:
            misspelled[name] = prefix + alike[0]
    return misspelled
