# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the header Content-Type."""

from __future__ import annotations


def essence(content_type: str) -> str:
    """Return type and subtype in lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    """Return whether a type is JSON, or a kind of it (RFC 6839)."""
    name = essence(content_type)
    return name in {"application/json", "text/json"} or name.endswith("+json")
