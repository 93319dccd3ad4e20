# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe a share as Windows and macOS see it. Imports nothing of Ansible's: hosts check it by themselves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SmbShare:
    """A share as Windows and macOS see it: every file is read and written as ``owner``."""

    name: str
    path: str
    owner: str
    writable: bool
