# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe once the options of modules that download and build programs below /opt/noslop."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of every build, of the account that makes it, and of one of Python packages."""

    DOCUMENTATION = r"""
options:
  programs:
    description: Directory of all programs, with the build directory and the tools.
    type: path
    default: /opt/noslop
"""

    ACCOUNT = r"""
options:
  account:
    description: Account that downloads, resolves, builds and unpacks, in a directory of its own.
    type: str
    default: noslop-build
"""

    PYTHON = r"""
options:
  python:
    description: Interpreter on the host.
    type: str
    default: python3
  allow_source:
    description:
      - Packages that may be built from source, which runs their code as O(account). All others are installed as wheels
        only.
    type: list
    elements: str
    default: []
"""
