# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test discovery with real listeners on loopback addresses and in a separate network namespace."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery import interfaces, scan_targets

from noslop_driver.hosts import discovery
from noslop_driver.models import Candidate
from tests.support.sshd import SshServer, free_port
from tests.unit.conftest import StartSshd

NO_NETWORKS = interfaces.LocalNetworks((), ())
PATIENT = scan_targets.Limits(connect_s=20.0, greeting_s=20.0)
QUICK = scan_targets.Limits(connect_s=0.5, greeting_s=0.5)


def discover(
    *hosts: str, networks: tuple[str, ...] = (), port: int = 22, limits: scan_targets.Limits | None = None
) -> discovery.Discovery:
    plan = discovery.plan_discovery(networks, hosts, port=port, limits=limits, surroundings=NO_NETWORKS)
    return discovery.discover(plan)


@contextlib.contextmanager
def run_listener(address: str, port: int, greeting: bytes | None) -> Iterator[None]:
    """Accept each connection, send `greeting` and close it; None: send nothing and keep it open."""
    open_connections: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):  # the socket was shut down: the test is over
            while True:
                connection, _peer = server.accept()
                if greeting is None:
                    open_connections.append(connection)
                else:
                    connection.sendall(greeting)
                    connection.close()

    with socket.create_server((address, port)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in open_connections:
                connection.close()


@contextlib.contextmanager
def fill_listen_queue(address: str, port: int) -> Iterator[None]:
    """Fill the queue of a listener that never accepts: the kernel drops further connections silently."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind((address, port))
        server.listen(0)
        while True:
            client = stack.enter_context(socket.socket())
            client.settimeout(0.5)
            try:
                client.connect((address, port))
            except TimeoutError:
                break
        yield


def test_discovery_of_a_network_returns_banner_and_key(sshd_server: StartSshd) -> None:
    first = sshd_server("127.0.0.10")
    second = sshd_server("127.0.0.12", port=first.port)
    result = discover(networks=("127.0.0.8/29",), port=first.port)
    assert [(c.address, c.port, c.host_key, c.host_keys) for c in result.candidates] == [
        ("127.0.0.10", first.port, first.fingerprint, [first.public_key]),
        ("127.0.0.12", first.port, second.fingerprint, [second.public_key]),
    ]
    assert all(candidate.banner and candidate.banner.startswith("SSH-2.0-") for candidate in result.candidates)
    assert result.counts == {"open": 2, "closed": 4}
    assert result.tried == ["127.0.0.8/29 (named): 6 addresses", "in all: 6 addresses"]
    assert result.problems == []


def list_connections(server: SshServer) -> list[str]:
    """Stop a server, and return the lines of its log that tell of a connection."""
    server.stop()
    assert not any("invalid user" in line.lower() or "failed" in line.lower() for line in server.log)
    return [line for line in server.log if line.startswith("Connection from")]


def test_each_server_gets_one_connection_and_no_login(sshd_server: StartSshd) -> None:
    server = sshd_server("127.0.0.10")
    discover(server.host)
    assert len(list_connections(server)) == 1


def test_server_with_a_key_exchange_that_is_not_ours_is_asked_once_more_by_ssh_keyscan(sshd_server: StartSshd) -> None:
    server = sshd_server("127.0.0.10", options=("KexAlgorithms diffie-hellman-group14-sha256",))
    (candidate,) = discover(server.host).candidates
    assert candidate.host_keys == [server.public_key]
    assert len(list_connections(server)) == 2


def test_one_machine_with_two_addresses_is_one_candidate(sshd_server: StartSshd) -> None:
    machine = sshd_server("127.0.0.11", "127.0.0.9")
    other = sshd_server("127.0.0.10", port=machine.port)
    result = discover(networks=("127.0.0.8/29",), port=machine.port)
    assert [(c.address, c.addresses) for c in result.candidates] == [
        ("127.0.0.9", ["127.0.0.9", "127.0.0.11"]),
        ("127.0.0.10", ["127.0.0.10"]),
    ]
    assert other.fingerprint == result.candidates[1].host_key


def test_named_address_of_a_machine_is_kept(sshd_server: StartSshd) -> None:
    machine = sshd_server("127.0.0.9", "127.0.0.11")
    result = discover(f"127.0.0.11:{machine.port}", networks=("127.0.0.8/29",), port=machine.port)
    assert [(c.address, c.named) for c in result.candidates] == [("127.0.0.11", True)]


@pytest.mark.parametrize("key_type", ["ecdsa", "rsa"])
@pytest.mark.parametrize("method", ["curve25519-sha256", "ecdh-sha2-nistp256"])
def test_server_without_an_ed25519_key_is_identified_by_another(
    sshd_server: StartSshd, key_type: str, method: str
) -> None:
    server = sshd_server("127.0.0.10", key_type=key_type, options=(f"KexAlgorithms {method}",))
    (candidate,) = discover(server.host).candidates
    assert candidate.host_key == server.fingerprint
    assert candidate.host_keys == [server.public_key]
    assert len(list_connections(server)) == 1


def test_host_name_is_resolved_and_kept(sshd_server: StartSshd) -> None:
    server = sshd_server("127.0.0.1")
    (candidate,) = discover(f"localhost:{server.port}").candidates
    assert (candidate.hostname, candidate.address, candidate.named) == ("localhost", "127.0.0.1", True)


def test_lines_before_the_banner_are_skipped() -> None:
    port = free_port("127.0.0.10")
    with run_listener("127.0.0.10", port, b"Welcome to the studio\r\nSSH-2.0-Test_1.0\r\n"):
        (candidate,) = discover(f"127.0.0.10:{port}").candidates
    assert candidate.banner == "SSH-2.0-Test_1.0"


def discover_failure(host: str, limits: scan_targets.Limits = PATIENT) -> Candidate:
    result = discover(host, limits=limits)
    assert result.candidates == []
    (other,) = result.others
    (problem,) = result.problems
    assert problem.fatal
    assert problem.kind == other.status
    assert problem.what == other.detail != ""
    assert problem.todo == other.todo != ""
    return other


def test_closed_port_is_reported() -> None:
    candidate = discover_failure(f"127.0.0.10:{free_port('127.0.0.10')}")
    assert candidate.status == "closed"
    assert "openssh-server" in candidate.todo


def test_missing_answer_is_a_timeout() -> None:
    port = free_port("127.0.0.10")
    with fill_listen_queue("127.0.0.10", port):
        assert discover_failure(f"127.0.0.10:{port}", QUICK).status == "timeout"


@pytest.mark.parametrize(
    ("greeting", "detail"),
    [
        pytest.param(b"", "hung up", id="closes"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400", id="web server"),
        pytest.param(b"Not allowed at this time\r\n", "Not allowed at this time", id="penalised by OpenSSH 9.8"),
        pytest.param(b"\x1b[2J" * 3000, "took the connection", id="endless line"),
        pytest.param(None, "said nothing for 0.5 s", id="silent"),
    ],
)
def test_server_without_ssh_is_reported(greeting: bytes | None, detail: str) -> None:
    port = free_port("127.0.0.10")
    with run_listener("127.0.0.10", port, greeting):
        candidate = discover_failure(f"127.0.0.10:{port}", QUICK if greeting is None else PATIENT)
    assert candidate.status == "refused"
    assert detail in candidate.detail
    assert "\x1b" not in candidate.detail


def test_unresolvable_name_is_an_error() -> None:
    candidate = discover_failure("render..1")
    assert (candidate.status, candidate.address) == ("error", "render..1")
    assert "looked up" in candidate.detail


def test_empty_result_reports_what_was_tried() -> None:
    result = discover(networks=("127.0.0.8/29",), port=free_port("127.0.0.9"))
    (problem,) = result.problems
    assert problem.kind == "nothing_found"
    assert "127.0.0.8/29 (named): 6 addresses" in problem.what
    assert "6 there without one" in problem.what
    assert "openssh-server" in problem.todo
    assert [other.status for other in result.others] == ["closed"] * 6


def test_own_address_is_the_source_address_of_the_route() -> None:
    assert discovery.find_own_address("127.0.0.2") == "127.0.0.1"
    assert discovery.find_own_address("::1") in ("::1", None)


TOO_FEW_FILES = """
import resource, socket, sys
from noslop_driver.hosts import discovery
from noslop_driver.errors import DriverError
servers = [socket.create_server((f"127.0.0.{n}", 0)) for n in range(65, 95)]
hosts = [":".join(map(str, server.getsockname())) for server in servers]
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
try:
    discovery.discover(discovery.plan_discovery((), hosts))
except DriverError as error:
    print(error)
"""


def test_too_few_file_descriptors_is_an_error() -> None:
    shown = run_python(TOO_FEW_FILES)
    assert "too many open files" in shown
    assert "ulimit -n" in shown


def run_python(program: str, *before: str) -> str:
    here = Path(__file__).parents[4]
    environment = {**os.environ, "PYTHONPATH": f"{here}:{here / 'collections'}"}
    done = subprocess.run(
        [*before, sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


OWN_NETWORKS = """
import json, socket, subprocess, threading
from noslop_driver.hosts import discovery

for line in '''
    link set lo up
    link add lan0 type veth peer name peer0
    link set lan0 up
    link set peer0 up
    address add 10.66.0.1/28 dev lan0
    address add 10.66.0.5/32 dev lan0
    address add 10.77.0.1/16 dev lan0
    neighbour add 10.77.9.9 lladdr 02:00:00:00:00:09 dev lan0 nud reachable
    link add docker0 type veth peer name peer1
    link set docker0 up
    link set peer1 up
    address add 172.17.0.1/24 dev docker0
'''.strip().splitlines():
    subprocess.run(["ip", *line.split()], check=True)

def serve(server):
    while True:
        server.accept()[0].sendall(b"SSH-2.0-Test\\r\\n")

for address in ("10.66.0.1", "10.66.0.5", "172.17.0.1"):
    server = socket.create_server((address, 22))
    threading.Thread(target=serve, args=(server,), daemon=True).start()

own = discovery.discover(discovery.plan_discovery())
named = discovery.discover(discovery.plan_discovery(["docker0"], ["10.99.0.1"]))
print(json.dumps({"own": own.model_dump(), "named": named.model_dump()}))
"""


@pytest.fixture(scope="session")
def in_namespace() -> tuple[str, ...]:
    command = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--net")
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this computer allows no network namespaces (unshare --net)")
    return command


def test_own_networks_are_searched_and_others_only_if_named(in_namespace: tuple[str, ...]) -> None:
    shown = json.loads(run_python(OWN_NETWORKS, *in_namespace))
    own = discovery.Discovery.model_validate(shown["own"])
    assert [candidate.address for candidate in own.candidates] == ["10.66.0.1", "10.66.0.5"]
    assert own.tried[0] == "lo (own network): left out: it is the loopback interface; name it"
    assert "10.66.0.0/28 on lan0 (own network): 14 addresses" in own.tried
    assert any(line.startswith("10.77.0.0/16 on lan0 (own network): left out: 65536 addresses") for line in own.tried)
    assert "known neighbours on lan0 (neighbour table): 1 address" in own.tried
    assert any(line.startswith("docker0 (own network): left out") for line in own.tried)
    assert own.tried[-1] == "in all: 15 addresses"
    named = discovery.Discovery.model_validate(shown["named"])
    assert [candidate.address for candidate in named.candidates] == ["172.17.0.1"]
    assert [(problem.host, problem.kind) for problem in named.problems] == [("10.99.0.1", "no_route")]
