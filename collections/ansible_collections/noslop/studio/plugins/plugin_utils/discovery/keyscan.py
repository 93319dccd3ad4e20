# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read public keys of SSH servers with ``ssh-keyscan``, for those whose key exchanges are not known here."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence


def read_keys(
    servers: Sequence[tuple[str, int]], exchange_s: int
) -> tuple[dict[tuple[str, int], tuple[str, ...]], tuple[str, ...]]:
    """Return the public keys of servers by address and port, and notes about keys that could not be read.

    Args:
        servers: address and port of each.
        exchange_s: seconds for one key exchange.
    """
    if not servers:
        return {}, ()
    program = shutil.which("ssh-keyscan")
    if not program:
        return {}, ("Host keys were not read: `ssh-keyscan` (package openssh-client) is not on this computer.",)
    keys: dict[tuple[str, int], tuple[str, ...]] = {}
    for port in sorted({port for __, port in servers}):
        for types in ("ed25519", "ecdsa,rsa"):
            missing = [address for address, of_server in servers if of_server == port and (address, port) not in keys]
            if missing:
                command = [program, "-T", str(exchange_s), "-p", str(port), "-t", types, "-f", "-"]
                read = _run(command, missing, exchange_s)
                keys.update({(address, port): read_keys for address, read_keys in read.items()})
    without = [f"{address} port {port}" for address, port in servers if (address, port) not in keys]
    return keys, (f"No host key could be read from {', '.join(without)}.",) if without else ()


def parse_keys(printed: str) -> dict[str, tuple[str, ...]]:
    """Parse the output of ``ssh-keyscan``: address to its keys. Comments and other lines are skipped."""
    keys: dict[str, tuple[str, ...]] = {}
    for line in printed.splitlines():
        fields = line.split()
        if len(fields) != 3 or line.startswith("#"):
            continue
        address = fields[0]
        if address.startswith("["):
            address = address[1:].partition("]")[0]
        keys[address] = (*keys.get(address, ()), f"{fields[1]} {fields[2]}")
    return keys


def _run(command: list[str], addresses: list[str], exchange_s: int) -> dict[str, tuple[str, ...]]:
    try:
        # All addresses at once: ssh-keyscan tries them in parallel. Its exit code reports single hosts only.
        done = subprocess.run(
            command,
            input="\n".join(addresses) + "\n",
            capture_output=True,
            check=False,
            text=True,
            timeout=exchange_s * (3 + len(addresses) // 100),
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse_keys(done.stdout)
