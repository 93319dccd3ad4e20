# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL cluster of its own for the tests, reached through a socket in a temporary directory."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
from noslop_backend import migrations
from noslop_backend.core.database import Database
from sqlalchemy import make_url

from tests.backend.memory import MEMORY

_TEMPLATE = "migrated"


def programs() -> Path:
    """Directory of initdb and pg_ctl: in PATH, or where Debian keeps them, the newest first."""
    if found := shutil.which("pg_ctl"):
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    assert versions, "PostgreSQL is not installed (make programs, or Debian: apt install postgresql)"
    return versions[-1].parent


class Cluster:
    """Databases that are thrown away with it."""

    def __init__(self, directory: Path, account: pwd.struct_passwd, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.account = account
        self.environment = environment
        self.data = str(directory / "data")
        self._numbers = itertools.count(1)
        self._strategy = ""

    @classmethod
    @contextmanager
    def started(cls, environment: Mapping[str, str] | None = None) -> Iterator[Cluster]:
        """Make a cluster, run it, and remove it. PostgreSQL refuses root, so root runs it as somebody else.

        `environment` is what the server gets beside this process's own.
        """
        account = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        # Not below pytest's own directories, which nobody else may enter.
        directory = Path(tempfile.mkdtemp(prefix="noslop-pg-", dir=MEMORY))
        try:
            os.chown(directory, account.pw_uid, account.pw_gid)
            cluster = cls(directory, account, environment or {})
            cluster._run("initdb", "-D", cluster.data, "-A", "trust", "-U", "noslop", "-E", "UTF8", "--no-sync")
            cluster.start()
            try:
                cluster._make_template()
                yield cluster
            finally:
                cluster.stop("immediate")
        finally:
            shutil.rmtree(directory)

    def start(self) -> None:
        """Run the server; it answers when this returns."""
        # The machine does not lose its power during a test; the backend's processes do die, and that is another thing.
        options = f"-c listen_addresses= -k {self.directory} -c fsync=off -c max_connections=200 -c shared_buffers=64MB"
        self._run("pg_ctl", "-D", self.data, "-o", options, "-l", str(self.directory / "log"), "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: `fast` ends all connections, `immediate` is like a crash."""
        self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        is_root = os.geteuid() == 0
        done = subprocess.run(
            [str(programs() / program), *arguments],
            cwd=self.directory,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            # The server keeps what it inherits: a pipe would never end.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            user=self.account.pw_uid if is_root else None,
            group=self.account.pw_gid if is_root else None,
        )
        assert done.returncode == 0, f"{program} failed with {done.returncode}; see {self.directory}/log"

    def url(self, database: str) -> str:
        """Address of one of its databases."""
        return f"postgresql+psycopg://noslop@/{database}?host={self.directory}"

    def _execute(self, statement: str) -> int:
        """Run a statement; gives the server's version."""
        address = f"host={self.directory} user=noslop dbname=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(statement.encode())
            return connection.info.server_version

    def _make_template(self) -> None:
        # The other strategy, which writes each block into the log as well, takes three times as long. Before
        # PostgreSQL 15 there was no choice, and no word for it.
        if self._execute(f"CREATE DATABASE {_TEMPLATE}") >= 150000:
            self._strategy = "STRATEGY file_copy"
        database = Database(self.url(_TEMPLATE))
        migrations.upgrade(database)
        database.close()

    def new_database(self, template: str = _TEMPLATE) -> str:
        """Make a database, migrated unless another template is named, and give its address."""
        name = f"test{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template} {self._strategy}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is still connected to it: each takes 8 MB of memory."""
        self._execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")
