# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the collection's tarball and install it into an empty place, once for all tests of a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tarball import Installation, build, install


@pytest.fixture(scope="session")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tarball that `ansible-galaxy collection build` makes of this tree."""
    return build(tmp_path_factory.mktemp("tarball"))


@pytest.fixture(scope="session")
def installation(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Return the collection as it is installed from the tarball, with no other collection beside it."""
    return install(tarball, tmp_path_factory.mktemp("installed"))
