# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the comparison of versions by their numbers."""

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host.version_numbers import is_older


@pytest.mark.parametrize(
    ("version", "other", "older"),
    [
        ("v0.3.64", "v0.33.0", True),
        ("0.9.1", "0.32.7", True),
        ("v0.33.0", "v0.33.0", False),
        ("v0.33.0", "v0.3.64", False),
        ("2f35f4a08176d993cded35dac3332be4f7287f41", "v0.33.0", False),
        ("v0.33.0", "", False),
        ("580.95.05", "580.126", True),
        ("3.9", "3.11", True),
        ("3.11", "3.11.2", True),
        ("v0.33.0-rc1", "v0.33.0", False),
        ("unknown", "12", False),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, other: str, older: bool) -> None:
    assert is_older(version, other) == older
