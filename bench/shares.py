# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure a studio's shares with one, two and three clients at once, over NFS and SMB, beside a plain TCP copy.

Runs on the demo studio, which it deploys with SMB and leaves without. Each client reads and writes a file of its own,
with cold caches, all from the same moment on; then one client writes and reads many small files. The other side of each
comparison is the same bytes between the same machines through a TCP connection and a disk: no protocol of files at all.
The lab has two workers: the third client is a second program on worker1, over NFS with a mount of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.lab.driver import run_driver_json
from tests.support.lab.machines import Machine, list_machines
from tests.support.lab.smb_mount import CREDENTIALS, mount_smb

SHARE = "projects"
OWN_MOUNT, SMB_MOUNT = "/mnt/noslop-bench-nfs", "/mnt/noslop-bench-smb"
BENCH = "noslop-bench"
PORT = 5999
#: Clients wait for one moment, in seconds after they were started: longer than an SSH command takes to begin.
START_AFTER_S = 15
TIMEOUT_S = 1800.0
MB = 1_000_000

# What a machine runs. Prints the seconds from the common moment to the end.
PROGRAM = r"""
import io, os, socket, sys, tarfile, threading, time

BLOCK = 1 << 20

def wait(at):
    while time.time() < at:
        time.sleep(0.01)
    return time.monotonic()

def copy(read, write):
    while block := read(BLOCK):
        write(block)

def read(path):
    with open(path, 'rb', buffering=0) as stream:
        copy(stream.read, len)

def write(path, size):
    block = os.urandom(BLOCK)
    with open(path, 'wb', buffering=0) as stream:
        for number in range(size // BLOCK):
            stream.write(block)
        os.fsync(stream.fileno())

def write_small(directory, count):
    os.mkdir(directory)
    for number in range(count):
        with open(f'{directory}/{number}', 'wb') as stream:
            stream.write(b'%4096d' % number)
    os.sync()

def read_small(directory):
    for entry in os.scandir(directory):
        with open(entry.path, 'rb') as stream:
            stream.read()

def connect(word):
    connection = socket.create_connection((sys.argv[4], int(sys.argv[5])))
    connection.sendall(word.encode().ljust(300))
    return connection

def receive(word):
    with connect(word) as connection:
        copy(connection.recv, len)

def send(word, size):
    with connect(word) as connection:
        block = os.urandom(BLOCK)
        for number in range(size // BLOCK):
            connection.sendall(block)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b'k'

def send_small(word, count):
    with connect(word) as connection, connection.makefile('wb') as stream:
        with tarfile.open(fileobj=stream, mode='w|') as archive:
            for number in range(count):
                member = tarfile.TarInfo(str(number))
                member.size = 4096
                archive.addfile(member, io.BytesIO(b'%4096d' % number))
        stream.flush()
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b'k'

def serve(connection):
    verb, __, path = connection.recv(300, socket.MSG_WAITALL).decode().strip().partition(' ')
    with connection, connection.makefile('rwb') as stream:
        if verb == 'read':
            with open(path, 'rb') as file:
                connection.sendfile(file)
        elif verb == 'write':
            with open(path, 'wb', buffering=0) as file:
                copy(stream.read, file.write)
                os.fsync(file.fileno())
            connection.sendall(b'k')
        elif verb == 'pack':
            with tarfile.open(fileobj=stream, mode='w|') as archive:
                archive.add(path, 'small')
        elif verb == 'unpack':
            with tarfile.open(fileobj=stream, mode='r|') as archive:
                archive.extractall(path, filter='data')
            os.sync()
            connection.sendall(b'k')

def listen(port):
    with socket.create_server(('', port)) as server:
        while True:
            threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

verb, at, words = sys.argv[1], float(sys.argv[2]), sys.argv[3]
if verb == 'listen':
    listen(int(words))
start = wait(at)
path, __, size = words.partition('|')
{
    'read': lambda: read(path),
    'write': lambda: write(path, int(size)),
    'write_small': lambda: write_small(path, int(size)),
    'read_small': lambda: read_small(path),
    'receive': lambda: receive(path),
    'send': lambda: send(path, int(size)),
    'send_small': lambda: send_small(path, int(size)),
}[verb]()
print(time.monotonic() - start)
"""
PROGRAM_PATH = "/run/noslop-bench.py"


@dataclass(frozen=True)
class Client:
    """One client: its machine, and where its mount of the share over NFS and over SMB is."""

    machine: Machine
    nfs: str
    smb: str
    name: str


@dataclass(frozen=True)
class Studio:
    """The server, the clients, where the share lies on the server, and how much each client reads and writes."""

    server: Machine
    clients: list[Client]
    directory: str
    file_bytes: int
    small_files: int

    def measure(self, clients: Sequence[Client], make_command: Callable[[Client], tuple[str, str]]) -> float:
        """Run a command of the program on each client, all from one moment on. Return the seconds of the last one."""
        for machine in {self.server.name: self.server, **{one.machine.name: one.machine for one in clients}}.values():
            machine.check_output("sync; echo 3 > /proc/sys/vm/drop_caches", root=True)
        seconds: dict[str, float] = {}
        failed: list[str] = []
        at = time.time() + START_AFTER_S

        def run(client: Client) -> None:
            verb, words = make_command(client)
            command = f"python3 {PROGRAM_PATH} {verb} {at} {shlex.quote(words)} {self.server.address} {PORT}"
            done = client.machine.sudo(command, timeout_s=TIMEOUT_S)
            if done.returncode:
                failed.append(done.stderr)
            else:
                seconds[client.name] = float(done.stdout)

        threads = [threading.Thread(target=run, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise SystemExit(f"a client failed: {failed[0]}")
        return max(seconds.values())

    def measure_large(self, count: int) -> dict[str, float]:
        """Return MB a second of ``count`` clients together, by way and direction."""
        clients = self.clients[:count]
        own = self.directory
        size = self.file_bytes
        commands: dict[str, Callable[[Client], tuple[str, str]]] = {
            "nfs_write": lambda client: ("write", f"{client.nfs}/{BENCH}/{client.name}|{size}"),
            "nfs_read": lambda client: ("read", f"{client.nfs}/{BENCH}/{client.name}"),
            "smb_write": lambda client: ("write", f"{client.smb}/{BENCH}/{client.name}-smb|{size}"),
            "smb_read": lambda client: ("read", f"{client.smb}/{BENCH}/{client.name}-smb"),
            "tcp_write": lambda client: ("send", f"write {own}/{client.name}-tcp|{size}"),
            "tcp_read": lambda client: ("receive", f"read {own}/{client.name}-tcp"),
        }
        rates = {name: count * size / MB / self.measure(clients, make) for name, make in commands.items()}
        self.server.check_output(f"rm -f {own}/*", root=True)
        return rates

    def measure_small(self) -> dict[str, float]:
        """Return files a second of one client, by way and direction."""
        own, count = self.directory, self.small_files
        commands: dict[str, Callable[[Client], tuple[str, str]]] = {
            "nfs_write": lambda client: ("write_small", f"{client.nfs}/{BENCH}/nfs|{count}"),
            "nfs_read": lambda client: ("read_small", f"{client.nfs}/{BENCH}/nfs"),
            "smb_write": lambda client: ("write_small", f"{client.smb}/{BENCH}/smb|{count}"),
            "smb_read": lambda client: ("read_small", f"{client.smb}/{BENCH}/smb"),
            "tcp_write": lambda __: ("send_small", f"unpack {own}/tcp|{count}"),
            "tcp_read": lambda __: ("receive", f"pack {own}/tcp"),
        }
        rates = {name: count / self.measure(self.clients[:1], make) for name, make in commands.items()}
        self.server.check_output(f"rm -rf {own}/nfs {own}/smb {own}/tcp", root=True)
        return rates


@contextlib.contextmanager
def mount_shares(server: Machine, workers: Sequence[Machine]) -> Iterator[list[Client]]:
    """Deploy the demo studio with SMB, and mount the share on each worker over it. Yield three clients."""
    password = "a password of a benchmark"  # noqa: S105 - of a share that only the lab reaches
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as afterwards:
        secret = Path(directory, "bench")
        secret.touch(mode=0o600)
        secret.write_text(f"{password}\n", encoding="utf-8")
        code, result = run_driver_json("deploy", "--yes", "--smb", "--smb-user", f"bench={secret}")
        afterwards.callback(run_driver_json, "deploy", "--yes", "--no-smb")
        if code:
            raise SystemExit(f"the studio could not be deployed with SMB: {result['error']}")
        for worker in workers:
            mount_smb(worker, f"//{server.address}/{SHARE}", SMB_MOUNT, user="bench", password=password)
            afterwards.callback(
                worker.sudo, f"umount {SMB_MOUNT} {OWN_MOUNT}; rmdir {SMB_MOUNT} {OWN_MOUNT}; rm {CREDENTIALS}"
            )
        shared = f"/mnt/noslop/{SHARE}"
        own_options = workers[0].check_output(f"ls {shared} >/dev/null; findmnt -t nfs4 -no OPTIONS {shared}").strip()
        workers[0].check_output(
            f"mkdir -p {OWN_MOUNT};"
            f" mount -t nfs4 -o {','.join(list_own_options(own_options))} {server.address}:{shared} {OWN_MOUNT}",
            root=True,
        )
        yield [
            Client(workers[0], shared, SMB_MOUNT, "one"),
            Client(workers[1], shared, SMB_MOUNT, "two"),
            Client(workers[0], OWN_MOUNT, SMB_MOUNT, "three"),
        ]


def list_own_options(shown: str) -> list[str]:
    """Return the options of a mount like the one that the kernel shows, with a cache of its own."""
    ours = ("vers=", "rsize=", "wsize=", "nconnect=")
    return ["hard", "nosuid", "nodev", "nosharecache", *(one for one in shown.split(",") if one.startswith(ours))]


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=64, help="size of each client's file (default: 64)")
    parser.add_argument("--small", type=int, default=10_000, help="number of small files of 4 KiB (default: 10000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each measurement (default: 3)")
    arguments = parser.parse_args()
    lab = list_machines()
    server, workers = lab["server"], [lab["worker1"], lab["worker2"]]
    directory = f"/mnt/noslop/{SHARE}/{BENCH}"
    with mount_shares(server, workers) as clients, contextlib.ExitStack() as afterwards:
        for machine in (server, *workers):
            written = machine.sudo(f"cat > {PROGRAM_PATH}", stdin=PROGRAM)
            assert written.returncode == 0, written.stderr
            afterwards.callback(machine.sudo, f"rm -f {PROGRAM_PATH}")
        clients[0].machine.check_output(f"mkdir {clients[0].nfs}/{BENCH}", root=True)
        afterwards.callback(server.sudo, f"rm -rf {directory}")
        server.check_output(
            f"systemd-run --quiet --unit=noslop-bench python3 {PROGRAM_PATH} listen 0 {PORT}", root=True
        )
        afterwards.callback(server.sudo, "systemctl stop noslop-bench")
        studio = Studio(server, clients, directory, arguments.mib << 20, arguments.small)
        large: dict[int, list[dict[str, float]]] = {count: [] for count in (1, 2, 3)}
        small: list[dict[str, float]] = []
        for number in range(arguments.rounds):
            for count, rounds in large.items():
                rounds.append(studio.measure_large(count))
                print(f"round {number + 1}, {count} clients: {round_rates(rounds[-1])} MB/s", file=sys.stderr)
            small.append(studio.measure_small())
            print(f"round {number + 1}, small: {round_rates(small[-1])} files/s", file=sys.stderr)
    print(json.dumps(report(large, small, arguments)))


def round_rates(rates: dict[str, float]) -> dict[str, float]:
    """Return rates with one digit."""
    return {name: round(rate, 1) for name, rate in rates.items()}


def divide(rounds: Sequence[dict[str, float]], one: str, other: str) -> float:
    """Return the median, over the rounds, of the ratio of two rates."""
    return round(statistics.median(rates[one] / rates[other] for rates in rounds), 2)


def report(
    large: dict[int, list[dict[str, float]]], small: list[dict[str, float]], arguments: argparse.Namespace
) -> dict[str, object]:
    """Return what was measured, with the ratios: several clients to one, each way to TCP, SMB to NFS."""
    directions = ("write", "read")
    ways = ("nfs", "smb", "tcp")
    return {
        "benchmark": "a share with one, two and three clients, over NFS, SMB and a plain TCP copy",
        "file_mib": arguments.mib,
        "small_files": arguments.small,
        "mb_s": {count: [round_rates(rates) for rates in rounds] for count, rounds in large.items()},
        "small_files_s": [round_rates(rates) for rates in small],
        "clients_to_one": {
            f"{way}_{direction}_{count}": round(
                statistics.median(
                    several[f"{way}_{direction}"] / one[f"{way}_{direction}"]
                    for several, one in zip(large[count], large[1], strict=True)
                ),
                2,
            )
            for way in ways
            for direction in directions
            for count in (2, 3)
        },
        "to_tcp": {
            f"{way}_{direction}_{count}": divide(rounds, f"{way}_{direction}", f"tcp_{direction}")
            for way in ("nfs", "smb")
            for direction in directions
            for count, rounds in large.items()
        },
        "small_to_tcp": {
            f"{way}_{direction}": divide(small, f"{way}_{direction}", f"tcp_{direction}")
            for way in ("nfs", "smb")
            for direction in directions
        },
        "smb_to_nfs": {
            **{
                f"{direction}_{count}": divide(rounds, f"smb_{direction}", f"nfs_{direction}")
                for direction in directions
                for count, rounds in large.items()
            },
            **{f"small_{direction}": divide(small, f"smb_{direction}", f"nfs_{direction}") for direction in directions},
        },
    }


if __name__ == "__main__":
    main()
