# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plans of intents, as they lie in the database: what recovery reads after a crash."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from noslop_backend.models.tables import FileModel


def row_json(row: FileModel) -> dict[str, Any]:
    """Return a row as it lies in a plan."""
    return row.model_dump(mode="json")


def row_of(plan: dict[str, Any]) -> FileModel:
    """Read a row from a plan."""
    times = {name: plan[name] and datetime.fromisoformat(plan[name]) for name in ("created_at", "trashed_at")}
    return FileModel(**(plan | times))
