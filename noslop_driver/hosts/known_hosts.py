# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The studio's own known_hosts: a host key is shown and accepted once, and from then on it is the only one.

Plain `ansible-playbook` reads the same file, through the SSH arguments in `group_vars/all/connection.yml`.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.noslop.studio.plugins.plugin_utils.discovery import ssh_scan

from noslop_driver.errors import DriverError, PreflightError
from noslop_driver.models import Candidate

SSH_PORT = 22
_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/=]+")


@dataclass(frozen=True)
class Sorted:
    """Candidates by what is known of their keys."""

    pinned: list[Candidate]
    new: list[Candidate]
    without_key: list[Candidate]


class KnownHosts:
    """One known_hosts file. It need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keys(self, address: str, port: int = SSH_PORT) -> list[str]:
        """The keys pinned for a host, each `<type> <base64>`. Finds entries that were hashed as well.

        Raises:
            DriverError: OpenSSH's tools are missing.
        """
        if not self.path.exists():
            return []
        command = ["ssh-keygen", "-F", _name(address, port), "-f", str(self.path)]
        try:
            found = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            told = (
                "ssh-keygen is missing on this computer. Install OpenSSH's client (Debian: apt install openssh-client)."
            )
            raise DriverError(told) from error
        keys = [_KEY.search(line) for line in found.stdout.splitlines() if not line.startswith("#")]
        return [key.group() for key in keys if key]

    def sort(self, candidates: Sequence[Candidate]) -> Sorted:
        """Tell known hosts from new ones.

        Raises:
            PreflightError: a host shows another key than the one that was accepted.
        """
        sorted_ = Sorted([], [], [])
        changed = []
        for candidate in candidates:
            pinned = self.keys(candidate.address, candidate.port)
            if pinned and candidate.host_keys and not set(pinned) & set(candidate.host_keys):
                changed.append(self._changed(candidate, pinned))
            elif pinned:
                sorted_.pinned.append(candidate)
            elif candidate.host_keys:
                sorted_.new.append(candidate)
            else:
                sorted_.without_key.append(candidate)
        if changed:
            raise PreflightError("\n".join(changed))
        return sorted_

    def accept(self, candidates: Sequence[Candidate]) -> None:
        """Pin the keys of hosts that the user has said are his."""
        lines = [
            f"{_name(candidate.address, candidate.port)} {key}\n"
            for candidate in candidates
            for key in candidate.host_keys
        ]
        if not lines:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(lines)

    def _changed(self, candidate: Candidate, pinned: Sequence[str]) -> str:
        name = _name(candidate.address, candidate.port)
        return (
            f"{candidate.address}: its SSH host key is not the one that was accepted before. "
            f"Pinned: {_fingerprints(pinned)}; seen now: {_fingerprints(candidate.host_keys)}. "
            f"If this machine was installed anew, or another one has its address now, remove the old key with "
            f"'ssh-keygen -R {name} -f {self.path}' and run this again. If not, somebody may stand between you and it."
        )


def _name(address: str, port: int) -> str:
    """How known_hosts names a host (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    return address if port == SSH_PORT else f"[{address}]:{port}"


def _fingerprints(keys: Sequence[str]) -> str:
    return ", ".join(f"{ssh_scan.fingerprint(key)} ({key.split()[0]})" for key in keys)
