# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find misspelled names of variables. Ansible ignores unknown names without a warning. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Least similarity of two names, without their prefix: one letter in five may differ.
LIKENESS = 0.8


def find_misspelled(names: Iterable[str], declared: Iterable[str], prefixes: Iterable[str]) -> dict[str, str]:
    """Find names that resemble declared ones.

    Args:
        names: variables of a host.
        declared: variables that are read.
        prefixes: prefixes of names of the collection, such as ``noslop_``. Of several that match, the longest counts.

    Returns:
        Each misspelled name, with the declared one that it resembles most.
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
