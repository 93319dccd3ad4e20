# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe once what modules support in check mode and in diff mode."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes of modules that show no difference, and of those that change nothing."""

    DOCUMENTATION = r"""
attributes:
  diff_mode:
    description: Not available.
    support: none
"""

    READS = r"""
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
  diff_mode:
    description: Not available, since nothing is changed.
    support: none
"""
