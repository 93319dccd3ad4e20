# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validate what a caller sends with a file: its details and its hash. It is judged here alone."""

from __future__ import annotations

from typing import Unpack

from pydantic import ValidationError

from noslop_backend.core.errors import ContentMismatchError, InvalidRequestError
from noslop_backend.schemas import FileCreate, FileDetails


def validate_details(name: str, **details: Unpack[FileDetails]) -> FileCreate:
    """Validate what a caller sends beside a file's content.

    Raises:
        InvalidRequestError: something of it has no meaning.
    """
    try:
        return FileCreate(
            name=name,
            parameters=details.get("parameters") or {},
            inputs=list(details.get("inputs", ())),
            length=details.get("length"),
            expected_blake3=details.get("expected_blake3"),
            inspect=details.get("inspect", True),
        )
    except ValidationError as error:
        raise invalid_request(error) from error


def invalid_request(error: ValidationError) -> InvalidRequestError:
    """Return the error that says in one sentence what does not fit."""
    problems = (
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_url=False, include_context=False, include_input=False)
    )
    return InvalidRequestError(f"The request does not fit: {'; '.join(problems)}.")


def check_hash(expected: str | None, actual: str) -> None:
    """Compare the content's BLAKE3 with what was announced.

    Raises:
        ContentMismatchError: they differ.
    """
    if expected is not None and expected != actual:
        raise ContentMismatchError(f"The content's BLAKE3 is {actual}, and {expected} was announced. Nothing was kept.")
