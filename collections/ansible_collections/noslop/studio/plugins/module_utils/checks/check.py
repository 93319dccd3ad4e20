# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the result of one check: the shape that verification and preflight share, from the host to the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

#: Prefix of ``seen`` where a check passed and the user should still read it.
NOTE = "note: "


class _Result(TypedDict):
    host: str
    check: str
    share: str
    ok: bool
    seen: str
    expected: str
    todo: str


class Check(_Result, total=False):
    """The result of one check on one host. ``todo`` is empty when it passed.

    ``details`` are for programs; the check that has them says what they are.
    """

    details: dict[str, Any]


class Checks:
    """The checks of one host, in the order in which they were made."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.list: list[Check] = []

    def add(
        self,
        check: str,
        ok: bool,
        *,
        seen: str,
        expected: str,
        todo: str,
        share: str = "",
        host: str = "",
        details: dict[str, Any] | None = None,
    ) -> bool:
        """Add one result and return whether it passed.

        Args:
            check: ``area.thing``; the report groups by the area.
            ok: whether it passed.
            seen: what was observed, with values.
            expected: what it should be.
            todo: the command or step that repairs it; dropped when the check passed.
            share: name of the share that it is about, if it is about one.
            host: name of the host that it is about, if it is about another one than the others.
            details: the same for programs, where the text alone would have to be parsed.
        """
        result = Check(
            host=host or self.host,
            check=check,
            share=share,
            ok=ok,
            seen=seen,
            expected=expected,
            todo="" if ok else todo,
        )
        if details is not None:
            result["details"] = details
        self.list.append(result)
        return ok

    def note(self, check: str, *, seen: str, expected: str, share: str = "", host: str = "") -> None:
        """Add a passed check that the user should read."""
        self.add(check, True, seen=NOTE + seen, expected=expected, todo="", share=share, host=host)


def parse_area(check: str) -> str:
    """Return the part of a check's name by which reports group it."""
    return check.partition(".")[0]


def is_note(check: Mapping[str, Any]) -> bool:
    """Return whether a passed check is one that the user should read."""
    return bool(check["ok"]) and str(check["seen"]).startswith(NOTE)


def enumerate_words(words: Iterable[str], nothing: str = "none") -> str:
    """Return the words joined by commas, or ``nothing``."""
    return ", ".join(words) or nothing


def shorten(text: str, limit: int = 200) -> str:
    """Return ``text`` as one line of at most ``limit`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def format_gigabytes(size_bytes: float) -> str:
    """Return a size as text, in decimal gigabytes as in ``noslop_min_free_gb``."""
    return f"{size_bytes / 1e9:.1f} GB"
