# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Specify once the arguments of modules that make and mark shares (``doc_fragments/owned_shares.py``)."""

from __future__ import annotations

from typing import Any

SPEC: dict[str, dict[str, Any]] = {
    "shares": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "uid": {"type": "int", "required": True},
            "gid": {"type": "int", "required": True},
        },
    },
    "studio_id": {"type": "str", "required": True},
}
