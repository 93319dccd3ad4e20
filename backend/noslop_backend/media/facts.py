# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what is recorded of a medium as JSON, and read it back: what it is, and the fields of the texts in it. Pure.

Rows, sidecars and archives contain these objects. They are read as what comes from outside, which they do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter

from noslop_backend.media.tags.fields import Fields

#: Of a record as JSON in UTF-8. A longer one is none: prompts are cut long before.
LIMIT_BYTES = 1024 * 1024
Count = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True)
class Facts:
    """Width and height in pixels, duration in seconds, and the number of pictures. What a file does not say is None."""

    width: Count | None = None
    height: Count | None = None
    duration_s: Annotated[float, Field(ge=0, lt=2**63)] | None = None
    frames: Count | None = None


R = TypeVar("R", Facts, Fields)
_FACTS, _FIELDS = TypeAdapter(Facts), TypeAdapter(Fields)


def facts_to_json(facts: Facts) -> dict[str, Any] | None:
    """Return facts as a JSON object without what is not said; None where nothing is."""
    return _FACTS.dump_python(facts, mode="json", exclude_defaults=True) or None


def fields_to_json(fields: Fields) -> dict[str, Any] | None:
    """Return fields as a JSON object without what is not said; None where nothing is."""
    return _FIELDS.dump_python(fields, mode="json", exclude_defaults=True) or None


def read_facts(value: object) -> Facts:
    """Return the facts that a JSON object holds; none where it is not one that is written here."""
    return _read(_FACTS, value, Facts())


def read_fields(value: object) -> Fields:
    """Return the fields that a JSON object holds; none where it is not one that is written here."""
    return _read(_FIELDS, value, Fields())


def _read(adapter: TypeAdapter[R], value: object, nothing: R) -> R:
    try:
        record = adapter.validate_python({} if value is None else value)
        # What a database or an answer could not hold: infinite numbers, and halves of surrogate pairs.
        text = json.dumps(adapter.dump_python(record, mode="json"), allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return nothing
    return record if len(text) <= LIMIT_BYTES else nothing
