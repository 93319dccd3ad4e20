# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server over a studio of its own, on either database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backend.api.serving import Served, serving
from tests.backend.studio import Studio, make_studio


@pytest.fixture
def served(studio: Studio) -> Iterator[Served]:
    """The server, with limits as they are by default."""
    with serving(studio.storage) as server:
        yield server
    for project in studio.storage.list_projects().items:
        studio.check(project.id)


@pytest.fixture
def project_id(served: Served) -> str:
    """A project that was made over HTTP."""
    return served.project()


@pytest.fixture
def local(place: Path, sqlite_template: Path) -> Iterator[Studio]:
    """A studio on SQLite: what is tested here never gets as far as a database."""
    database = place / "backend.sqlite3"
    database.write_bytes(sqlite_template.read_bytes())
    made = make_studio(place, f"sqlite:///{database}")
    yield made
    made.close()
