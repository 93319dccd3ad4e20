# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how long a network is searched: `noslop-driver discover` beside nmap, and how much memory it takes.

Fifty SSH servers, each with an address and a key of its own, are in a network namespace, and the rest of their /24 is
silent: nobody answers for those addresses. Both programs run in a second namespace that has a link to the first, and in
no other network. Needs root, and nmap (Debian: apt install nmap).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.waiting import wait_until

SERVERS, SEARCHER = "noslop-bench-ssh", "noslop-bench-look"
PREFIX = "10.79.42"
NETWORK = f"{PREFIX}.0/24"
OWN_ADDRESS = f"{PREFIX}.1"
FIRST = 100
KIB = 1024


def run(*words: str) -> None:
    """Run a command, quietly."""
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def network(count: int) -> Iterator[None]:
    """Hold two linked namespaces, with ``count`` SSH servers in the one."""
    with contextlib.ExitStack() as afterwards:
        directory = Path(afterwards.enter_context(tempfile.TemporaryDirectory()))
        for name in (SERVERS, SEARCHER):
            run("ip", "netns", "add", name)
            afterwards.callback(run, "ip", "netns", "delete", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", SERVERS, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", SEARCHER)
        run("ip", "-n", SEARCHER, "address", "add", f"{OWN_ADDRESS}/24", "dev", "eth0")
        addresses = [f"{PREFIX}.{FIRST + number}" for number in range(count)]
        for address in addresses:
            run("ip", "-n", SERVERS, "address", "add", f"{address}/24", "dev", "eth0")
        for name in (SERVERS, SEARCHER):
            run("ip", "-n", name, "link", "set", "eth0", "up")
        Path("/run/sshd").mkdir(exist_ok=True)  # Debian's sshd asks for it
        for address in addresses:
            key = directory / address
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
            options = ("-D", "-e", "-f", "/dev/null", "-h", str(key), "-o", f"ListenAddress={address}")
            server = subprocess.Popen(
                ["ip", "netns", "exec", SERVERS, "/usr/sbin/sshd", *options], stderr=subprocess.DEVNULL
            )
            afterwards.callback(server.wait)
            afterwards.callback(server.terminate)
        listening = ("ip", "netns", "exec", SERVERS, "ss", "-Hltn", "sport = :22")
        wait_until(
            lambda: (
                len(subprocess.run(listening, capture_output=True, text=True, check=True).stdout.split("\n")) > count
            )
        )
        yield


def measure(words: Sequence[str]) -> tuple[float, float, str]:
    """Run a program in the searcher's namespace. Return its seconds, the MB of its largest process, and its output."""
    before = time.monotonic()
    command = ["ip", "netns", "exec", SEARCHER, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        printed = process.stdout.read()
        __, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - before
    if process.returncode:
        raise SystemExit(f"{words[0]} ended with {process.returncode}")
    return seconds, usage.ru_maxrss * KIB / 1e6, printed


def count_driver(printed: str) -> int:
    """Return how many machines the driver printed with their key and their greeting."""
    return sum(bool(one["host_key"] and one["banner"]) for one in json.loads(printed)["candidates"])


def count_nmap(printed: str) -> int:
    """Return how many keys nmap printed."""
    return printed.count("(ED25519)")


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=50, help="number of SSH servers (default: 50)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: 5)")
    arguments = parser.parse_args()
    driver, nmap = shutil.which("noslop-driver"), shutil.which("nmap")
    if not driver or not nmap:
        raise SystemExit("noslop-driver and nmap must be on the PATH (Debian: apt install nmap).")
    ours: list[float] = []
    theirs: list[float] = []
    largest = 0.0
    with network(arguments.hosts):
        for number in range(arguments.rounds):
            seconds, megabytes, printed = measure([driver, "discover", "--network", NETWORK, "--json"])
            ours.append(seconds)
            largest = max(largest, megabytes)
            if (count := count_driver(printed)) != arguments.hosts:
                raise SystemExit(f"the driver found {count} of {arguments.hosts}")
            seconds, __, printed = measure([nmap, "-n", "-p22", "--script", "ssh-hostkey", NETWORK])
            theirs.append(seconds)
            print(
                f"round {number + 1}: {ours[-1]:.2f} s against {theirs[-1]:.2f} s ({count_nmap(printed)} keys by nmap)",
                file=sys.stderr,
            )
    print(
        json.dumps(
            {
                "benchmark": f"search of a /24 with {arguments.hosts} SSH servers",
                "driver_s": [round(seconds, 2) for seconds in ours],
                "nmap_s": [round(seconds, 2) for seconds in theirs],
                "ratio_median": round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 2),
                "driver_mb": round(largest, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
