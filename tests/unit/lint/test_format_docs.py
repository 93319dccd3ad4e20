# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare docs/formats.md with the table of samples."""

from __future__ import annotations

from tests.lint import format_docs


def test_the_page_is_up_to_date() -> None:
    assert format_docs.PAGE.read_text("utf-8") == format_docs.page(), "docs/formats.md is stale: run `make docs`"
