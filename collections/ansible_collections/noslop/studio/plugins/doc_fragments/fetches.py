# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe once the options and results of modules that fetch models in the background of a host."""

from __future__ import annotations


class ModuleDocFragment:
    """How a task follows the download, and where its lock and its progress are."""

    DOCUMENTATION = r"""
options:
  run_directory:
    description: Directory of root's, in memory, with the lock and the progress of the run that fetches.
    type: path
    default: /run/noslop-models
  progress_file:
    description: File on the controller that gets the progress as JSON while the download runs.
    type: path
  state:
    description:
      - V(present) fetches what is missing, V(verified) reads all that is there and compares it with its checksum,
        V(progress) returns how far the run is that does so now, and V(stopped) ends it and keeps what it has.
    type: str
    choices: [present, verified, progress, stopped]
    default: present
notes:
  - One run fetches at a time. Another one waits for it, and finds what it fetched.
  - The task follows the download, which runs on by itself where the controller goes away. The next run follows it.
"""
