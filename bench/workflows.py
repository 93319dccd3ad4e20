# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make workflows to save. Imports nothing of the backend: older versions of it save them too."""

from __future__ import annotations

import json

#: Nodes of a workflow as ComfyUI makes them: some kilobytes of JSON.
NODES = 30


def workflow(number: int) -> bytes:
    """Return a workflow that is another one for each number."""
    node = {"class_type": "KSampler", "inputs": {"seed": number, "steps": 20, "cfg": 8.0, "model": ["4", 0]}}
    return json.dumps({str(index): node for index in range(NODES)}).encode()
