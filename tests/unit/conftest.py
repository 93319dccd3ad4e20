# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the fixtures of several tests."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import settings

from tests.support import sshd
from tests.support.mdns_network import Network, make_network

# These tests do not measure time.
settings.register_profile("noslop", deadline=None)
settings.load_profile("noslop")


# A shell ignores SIGINT in background jobs, and the processes that the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure() -> None:
    """Keep the directories of these tests apart from those of other tests that run at the same time.

    Accounts without rights read some of them, and each start of pytest closes the common one, /tmp/pytest-of-USER.
    """
    root = Path(tempfile.gettempdir(), f"noslop-{os.geteuid()}")
    with contextlib.suppress(FileExistsError):
        root.mkdir()
        root.chmod(0o755)
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(root))


class StartSshd(Protocol):
    """A function that starts an SSH server on loopback addresses, which is stopped when the test ends."""

    def __call__(
        self,
        *addresses: str,
        port: int | None = None,
        options: Sequence[str] = (),
        key_type: str = "ed25519",
        prefix: Sequence[str] = (),
    ) -> sshd.SshServer: ...


@pytest.fixture(scope="session", autouse=True)
def _open_directories_of_workers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let other accounts reach the directories of tests where pytest-xdist puts a worker's one level deeper."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        tmp_path_factory.getbasetemp().parent.parent.chmod(0o755)


@pytest.fixture(scope="session")
def client_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a private key that every `sshd_server` accepts."""
    return sshd.make_key(tmp_path_factory.mktemp("client") / "id_ed25519")


@pytest.fixture
def mdns_network(tmp_path: Path) -> Iterator[Network]:
    """Return two namespaces: the searcher is 10.66.0.1/28, the machines are 10.66.0.2 to 10.66.0.4."""
    if os.geteuid() or not shutil.which("nsenter") or not sshd.sshd_path():
        pytest.skip("network namespaces with SSH servers need root, nsenter and sshd")
    with make_network(tmp_path) as network:
        network.add_addresses(["10.66.0.1/28"], ["10.66.0.2/28", "10.66.0.3/28", "10.66.0.4/28"])
        yield network


@pytest.fixture
def sshd_server(tmp_path: Path, client_key: Path) -> Iterator[StartSshd]:
    """Return a function that starts a server: `sshd_server("127.0.0.2", "127.0.0.3")`, by default on 127.0.0.1."""
    if not sshd.sshd_path():
        pytest.skip("sshd is not installed (Debian: apt install openssh-server)")
    servers: list[sshd.SshServer] = []
    numbers = itertools.count(1)

    def start(
        *addresses: str,
        port: int | None = None,
        options: Sequence[str] = (),
        key_type: str = "ed25519",
        prefix: Sequence[str] = (),
    ) -> sshd.SshServer:
        directory = tmp_path / f"sshd{next(numbers)}"
        addresses = addresses or ("127.0.0.1",)
        servers.append(
            sshd.start(directory, client_key, addresses, port=port, options=options, key_type=key_type, prefix=prefix)
        )
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
