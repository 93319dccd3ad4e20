# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure a second deployment that finds nothing to do, as a whole process: `noslop-driver deploy`.

    python -m bench.second_run lab          on the lab's three machines, beside `site.yml` of an older version
    python -m bench.second_run simulated    for 5, 10, 20 and 50 simulated hosts

On the lab both sides run one after the other: the older version deploys a studio and runs its own `site.yml` again;
this version takes the studio over, and looks at it.

Simulated are the hosts: each is a loopback address of an SSH server on this computer, with a connection of its own in
each round. Real are the driver, Ansible and SSH, with one module a host; but that module returns a stored look in place
of making one, since real hosts make theirs side by side, and these would share the processors of this computer. The
Python that starts for each module does share them, so that real hosts are no slower.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from noslop_driver.ansible.inventory_list import list_inventory
from noslop_driver.inventory import fingerprint
from noslop_driver.inventory.directory import StudioDirectory
from tests.support import sshd
from tests.support.lab.machines import ROOT
from tests.support.plays import write_playbook

COUNTS = (5, 10, 20, 50)
ROUNDS = 3
MOST_RATIO_LAB, MOST_RATIO_HOSTS = 0.10, 6.0
OF_ONE_SERVER = 10
"""The number of addresses of one SSH server, which listens on sixteen sockets at most."""
PORT = 42022
SERVER_OPTIONS = ("MaxStartups 1000", "MaxSessions 1000")
RUN_WITH_STORED_LOOKS = (
    "import sys; from noslop_driver.hosts import deployed_run; from noslop_driver.cli.main import main; "
    "deployed_run.PLAYBOOK = sys.argv[1]; raise SystemExit(main(sys.argv[2:]))"
)


def measure(run: Callable[[], str]) -> float:
    """Return the median of the seconds of several runs. Fail where one had something to do."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.monotonic()
        printed = run()
        seconds.append(time.monotonic() - start)
        assert "Nothing to do" in printed, printed
    return statistics.median(seconds)


def measure_simulated(count: int, servers: Sequence[sshd.SshServer], directory: Path) -> float:
    """Return the seconds of a deployment of so many hosts."""
    studio = StudioDirectory(directory / "studio")
    write_studio(studio, servers, count)
    made = dict(fingerprint.make(list_inventory(studio.path), studio))
    result = {
        "deployment": "simulated",
        "fingerprint": made,
        "finished": "2026-01-01T00:00:00Z",
        "checks": make_checks(),
    }
    playbook = write_playbook(directory, {"name": "Compare", "return_result": {"result": result}}, name="compare.yml")
    words = ("deploy", "--inventory", str(studio.path), "--yes")
    return measure(lambda: run_python(RUN_WITH_STORED_LOOKS, str(playbook), *words))


def write_studio(studio: StudioDirectory, servers: Sequence[sshd.SshServer], count: int) -> None:
    """Write the inventory of a studio whose hosts are addresses of these SSH servers."""
    studio.make_state_dir()
    keys = {address: server.public_key for server in servers for address in server.addresses}
    addresses = list(keys)[:count]
    known_hosts = studio.path / ".noslop/known_hosts"
    known_hosts.write_text(
        "".join(f"[{address}]:{servers[0].port} {keys[address]}\n" for address in addresses), encoding="ascii"
    )
    names = [f"host{number}" for number in range(count)]
    hosts = {name: {"ansible_host": address} for name, address in zip(names, addresses, strict=True)}
    groups: Mapping[str, Sequence[str]] = {"storage_server": names[:1], "storage_clients": names[1:], "comfyui": names}
    inventory = {
        "all": {"hosts": hosts, "vars": make_variables(servers[0], known_hosts)},
        **{group: {"hosts": {name: {} for name in members}} for group, members in groups.items()},
    }
    (studio.path / "hosts.yml").write_text(json.dumps(inventory), encoding="utf-8")


def make_variables(server: sshd.SshServer, known_hosts: Path) -> dict[str, Any]:
    """Return the variables of all hosts. No connection of an earlier round is used again."""
    return {
        "ansible_port": server.port,
        "ansible_user": server.user,
        "ansible_become": False,
        "ansible_ssh_private_key_file": str(server.client_key),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={known_hosts} -o ControlPath=none",
        "ansible_python_interpreter": "/usr/bin/python3",
        "noslop_studio_id": "simulated",
    }


def make_checks() -> list[dict[str, Any]]:
    """Return as many checks as a client of the lab makes."""
    text = {"host": "host", "share": "projects", "seen": "as it was deployed" * 4, "expected": "as it was", "todo": ""}
    return [{**text, "check": f"deployed.part{number}", "ok": True} for number in range(60)]


def run_python(code: str, *words: str) -> str:
    """Run a program in a Python of its own. Return what it printed."""
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def start_server(directory: Path, number: int, afterwards: contextlib.ExitStack) -> sshd.SshServer:
    """Start an SSH server with addresses of its own, which is stopped afterwards."""
    key = directory / "id_ed25519"
    addresses = [f"127.0.77.{number * OF_ONE_SERVER + one}" for one in range(1, OF_ONE_SERVER + 1)]
    server = sshd.start(
        directory / f"sshd{number}",
        key if key.exists() else sshd.make_key(key),
        addresses,
        port=PORT,
        options=SERVER_OPTIONS,
    )
    afterwards.callback(server.process.wait)
    afterwards.callback(server.process.terminate)
    return server


def compare_simulated() -> dict[str, Any]:
    """Measure each number of hosts."""
    with tempfile.TemporaryDirectory(prefix="noslop-bench-") as name:
        directory = Path(name)
        with contextlib.ExitStack() as afterwards:
            servers = [start_server(directory, number, afterwards) for number in range(max(COUNTS) // OF_ONE_SERVER)]
            seconds = {count: measure_simulated(count, servers, directory / str(count)) for count in COUNTS}
    ratio = seconds[COUNTS[-1]] / seconds[COUNTS[0]]
    return {
        "seconds": {str(count): round(value, 2) for count, value in seconds.items()},
        "ratio": round(ratio, 2),
        "at_most": MOST_RATIO_HOSTS,
        "ok": ratio <= MOST_RATIO_HOSTS,
    }


def compare_lab() -> dict[str, Any]:
    """Measure both sides on the lab's machines."""
    # Only here: the rest needs no lab.
    from bench import converge  # noqa: PLC0415
    from tests.faults.old_studio import OLD_VERSION, deploy_old_version  # noqa: PLC0415
    from tests.support.lab.driver import INVENTORY, run_driver, run_driver_json  # noqa: PLC0415
    from tests.support.lab.machines import LAB, reset_machines  # noqa: PLC0415

    reset_machines()
    deploy_old_version()
    old = converge.measure(converge.run_old)
    code, result = run_driver_json("deploy", "--yes", timeout_s=3600)
    assert code == 0, result
    words = ("deploy", "--yes", "--inventory", str(INVENTORY), "--become-pass-file", str(LAB / "sudo_password"))

    def run() -> str:
        done = run_driver(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    seconds = measure(run)
    ratio = seconds / old["seconds"]
    return {
        "before": OLD_VERSION,
        "old_s": round(old["seconds"], 1),
        "new_s": round(seconds, 1),
        "ratio": round(ratio, 3),
        "at_most": MOST_RATIO_LAB,
        "ok": ratio <= MOST_RATIO_LAB,
    }


def main() -> int:
    """Measure, print one JSON object, and return 0 where the bound was kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("where", choices=["lab", "simulated"])
    where = parser.parse_args().where
    result = compare_lab() if where == "lab" else compare_simulated()
    print(json.dumps({"benchmark": f"second_run {where}", **result}))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
