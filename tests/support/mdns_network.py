# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make two linked network namespaces: the one of a searcher, and one with machines that announce themselves.

The machines are SSH servers with keys of their own, the responder of the library zeroconf, and a sender of any
datagrams. Needs root; neither namespace has a link to any other network.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support import sshd

INTERFACE = "lan0"
"""The interface of the searcher. That of the machines is `eth0`."""
_SUPPORT = Path(__file__).parent


class Namespace:
    """A network namespace, which ends with the process that has it."""

    def __init__(self) -> None:
        command = ["unshare", "--net", "cat"]
        self._owner = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._owner.stdin
        assert self._owner.stdout
        self._owner.stdin.write(b"ready\n")
        self._owner.stdin.flush()
        assert self._owner.stdout.readline() == b"ready\n"
        self.pid = self._owner.pid
        self.enter = ("nsenter", f"--net=/proc/{self.pid}/ns/net")

    def run(self, *words: str) -> str:
        """Run a command there, and return what it prints."""
        return subprocess.run([*self.enter, *words], check=True, capture_output=True, text=True).stdout

    def ip(self, lines: str) -> None:
        """Run `ip` with each line of words."""
        for line in lines.strip().splitlines():
            self.run("ip", *line.split())

    def close(self) -> None:
        """End the namespace."""
        self._owner.communicate()


class Network:
    """The searcher's namespace and that of the machines. `searcher` and `machines` have the first address."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self.searcher, self.machines = Namespace(), Namespace()
        stack.callback(self.searcher.close)
        stack.callback(self.machines.close)
        self._directory = directory
        self._stack = stack
        link = f"link add {INTERFACE} type veth peer name eth0 netns {self.machines.pid}"
        self.searcher.ip(f"{link}\nlink set lo up\nlink set {INTERFACE} up")
        self.machines.ip("link set lo up\nlink set eth0 up")

    def add_addresses(self, searcher: Sequence[str], machines: Sequence[str]) -> None:
        """Add addresses to both interfaces, each with its prefix."""
        for namespace, interface, addresses in (
            (self.searcher, INTERFACE, searcher),
            (self.machines, "eth0", machines),
        ):
            for address in addresses:
                # An IPv6 address is otherwise not used until the kernel has looked for another machine with it.
                extra = " nodad" if ":" in address else ""
                namespace.ip(f"address add {address} dev {interface}{extra}")

    def add_server(self, address: str, port: int, name: str = "key") -> tuple[str, Path]:
        """Start an SSH server. Return its public key and the file of its log; `name` is that of its key."""
        program = sshd.sshd_path()
        assert program
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        key = sshd.make_key(self._directory / name)
        log = self._directory / f"log-{address.replace(':', '-')}-{port}"
        options = ["-D", "-E", str(log), "-f", "/dev/null", "-h", str(key), "-p", str(port)]
        options += ["-o", f"ListenAddress={address}", "-o", "PidFile=none", "-o", "LogLevel=VERBOSE"]
        server = subprocess.Popen([*self.machines.enter, program, *options])
        self._stack.callback(server.wait)
        self._stack.callback(server.terminate)
        while not log.exists() or "Server listening" not in log.read_text(encoding="utf-8"):
            assert server.poll() is None, "sshd did not start"
        return " ".join(key.with_suffix(".pub").read_text(encoding="ascii").split()[:2]), log

    def announce(self, address: str, *services: dict[str, Any]) -> None:
        """Announce services with the library's responder: `type`, `name`, `server`, `port`, `addresses` of each."""
        self._start_program("responder", address, json.dumps(services))

    def answer(self, address: str, datagrams: Mapping[int, Sequence[bytes]]) -> None:
        """Send from one address of the machines, to each message of questions, the datagrams by the types in it."""
        path = self._directory / f"datagrams-{address}"
        encoded = {kind: [base64.b64encode(one).decode() for one in of_kind] for kind, of_kind in datagrams.items()}
        path.write_text(json.dumps(encoded), encoding="ascii")
        self._start_program("sender", address, str(path))

    def _start_program(self, *words: str) -> None:
        program = [*self.machines.enter, sys.executable, str(_SUPPORT / "mdns_machine.py"), *words]
        process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._stack.callback(process.communicate)
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"

    def search(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `noslop-driver discover` in the searcher's namespace."""
        root = _SUPPORT.parents[1]
        return subprocess.run(
            [*self.searcher.enter, str(Path(sys.executable).with_name("noslop-driver")), "discover", *words],
            capture_output=True,
            text=True,
            check=False,
            cwd=root,
            env={**os.environ, "PYTHONPATH": f"{root}:{root / 'collections'}"},
        )


@contextlib.contextmanager
def make_network(directory: Path) -> Iterator[Network]:
    """Make both namespaces, and end them with everything that was started there."""
    with contextlib.ExitStack() as stack:
        yield Network(directory, stack)
