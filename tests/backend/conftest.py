# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the backend's tests: a share with its marker, and a real database of either kind."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from noslop_backend.schemas import ProjectCreate
from noslop_backend.services import ProjectStorage

from tests.backend.comfyui import StandIn, standin
from tests.backend.hostile import Server, hostile
from tests.backend.memory import in_memory
from tests.backend.postgresql import Cluster
from tests.backend.studio import Studio, make_sqlite, make_studio

# How long an example takes is not what these tests are about.
settings.register_profile("noslop", deadline=None)
settings.load_profile("noslop")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL of its own for this session."""
    with Cluster.started() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database, to be copied."""
    return make_sqlite(tmp_path_factory.mktemp("template") / "migrated.sqlite3")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in memory for a test's share and database."""
    with in_memory() as directory:
        yield directory


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, place: Path) -> Iterator[Callable[[], str]]:
    """Makes migrated databases that nobody has used: every test that takes it runs on both kinds."""
    numbers = itertools.count(1)
    with ExitStack() as stack:

        def made() -> str:
            if request.param == "postgresql":
                cluster: Cluster = request.getfixturevalue("cluster")
                url = cluster.new_database()
                stack.callback(cluster.drop, url)
                return url
            template: Path = request.getfixturevalue("sqlite_template")
            path = place / f"backend-{next(numbers)}.sqlite3"
            path.write_bytes(template.read_bytes())
            return f"sqlite:///{path}"

        yield made


@pytest.fixture
def database_url(new_database: Callable[[], str]) -> str:
    """One of them."""
    return new_database()


@pytest.fixture
def studio(database_url: str, place: Path) -> Iterator[Studio]:
    """A share and a database; `studio.storage` is a service on them."""
    made = make_studio(place, database_url)
    yield made
    made.close()


@pytest.fixture
def storage(studio: Studio) -> ProjectStorage:
    """The service."""
    return studio.storage


@pytest.fixture
def project(storage: ProjectStorage) -> str:
    """Id of a project."""
    return storage.create_project_structure(ProjectCreate(name="A film")).id


@pytest.fixture(scope="session")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """The stand-in for ComfyUI, running."""
    with standin(tmp_path_factory.mktemp("comfyui")) as running:
        yield running


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that answers as no ComfyUI would."""
    with hostile() as made:
        yield made
