# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage the studio's own known_hosts: a host key is accepted once, and no other key is valid for the host later.

Plain `ansible-playbook` reads the same file, through the SSH arguments in `group_vars/all/connection.yml`.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.noslop.studio.plugins.plugin_utils.discovery import ssh_scan
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.scan_targets import SSH_PORT

from noslop_driver.errors import DriverError, PreflightError
from noslop_driver.models import Candidate, Endpoint

_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/=]+")


@dataclass(frozen=True)
class ClassifiedCandidates:
    """Candidates by the state of their host keys."""

    pinned: list[Candidate]
    new: list[Candidate]
    without_key: list[Candidate]


class KnownHosts:
    """A known_hosts file. It need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find_keys(self, address: str, port: int = SSH_PORT) -> list[str]:
        """Return the keys pinned for a host, each `<type> <base64>`. Entries may be hashed.

        Raises:
            DriverError: OpenSSH's tools are missing.
        """
        if not self.path.exists():
            return []
        found = _run_keygen("-F", format_host(address, port), "-f", str(self.path))
        keys = [_KEY.search(line) for line in found.splitlines() if not line.startswith("#")]
        return [key.group() for key in keys if key]

    def classify(self, candidates: Sequence[Candidate]) -> ClassifiedCandidates:
        """Classify hosts by their keys: pinned, new, or without a key.

        Raises:
            PreflightError: a host shows another key than the one that was accepted.
        """
        classified = ClassifiedCandidates([], [], [])
        changed = []
        for candidate in candidates:
            pinned = self.find_keys(candidate.address, candidate.port)
            if pinned and candidate.host_keys and not set(pinned) & set(candidate.host_keys):
                changed.append(self._explain_changed_key(candidate, pinned))
            elif pinned:
                classified.pinned.append(candidate)
            elif candidate.host_keys:
                classified.new.append(candidate)
            else:
                classified.without_key.append(candidate)
        if changed:
            raise PreflightError("\n".join(changed))
        return classified

    def accept(self, candidates: Sequence[Candidate]) -> None:
        """Pin the keys of hosts that the user has accepted."""
        lines = [
            f"{format_host(candidate.address, candidate.port)} {key}\n"
            for candidate in candidates
            for key in candidate.host_keys
        ]
        if not lines:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(lines)

    def move(self, old: Endpoint, new: Endpoint) -> None:
        """Pin the keys of one address for another one in its place.

        Raises:
            DriverError: OpenSSH's tools are missing.
        """
        keys = self.find_keys(old.address, old.port)
        self.accept([Candidate(address=new.address, port=new.port, host_keys=keys, status="open")])
        self.forget(old)

    def forget(self, endpoint: Endpoint | Candidate) -> None:
        """Remove the keys of a host.

        Raises:
            DriverError: OpenSSH's tools are missing.
        """
        if not self.path.exists():
            return
        _run_keygen("-R", format_host(endpoint.address, endpoint.port), "-f", str(self.path))
        # ssh-keygen keeps the file that it changed.
        self.path.with_name(f"{self.path.name}.old").unlink(missing_ok=True)

    def _explain_changed_key(self, candidate: Candidate, pinned: Sequence[str]) -> str:
        name = format_host(candidate.address, candidate.port)
        return (
            f"{candidate.address}: its SSH host key is not the one that was accepted before. "
            f"Pinned: {_format_fingerprints(pinned)}; seen now: {_format_fingerprints(candidate.host_keys)}. "
            f"If this machine was installed anew, or another one has its address now, remove the old key with "
            f"'ssh-keygen -R {name} -f {self.path}' and run this again. If not, another machine may answer in its "
            "place."
        )


def format_host(address: str, port: int) -> str:
    """Return the form of a host in known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
    return address if port == SSH_PORT else f"[{address}]:{port}"


def _run_keygen(*arguments: str) -> str:
    try:
        return subprocess.run(["ssh-keygen", *arguments], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError as error:
        message = (
            "ssh-keygen is missing on this computer. Install OpenSSH's client (Debian: apt install openssh-client)."
        )
        raise DriverError(message) from error


def _format_fingerprints(keys: Sequence[str]) -> str:
    return ", ".join(f"{ssh_scan.fingerprint(key)} ({key.split()[0]})" for key in keys)
