"""The lab's virtual machines, as a test meets them: over SSH as the ordinary user, with sudo where it must."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

ROOT = Path(__file__).resolve().parents[3]
LAB = ROOT / ".lab"
NETWORK = "10.77.42.0/24"
CONTROLLER = "10.77.42.1"
MIRROR_PORT = 8042

T = TypeVar("T")


@dataclass(frozen=True)
class Machine:
    """One machine of the lab."""

    name: str
    address: str
    user: str

    def ssh(self) -> list[str]:
        """The start of a command line that runs something on the machine."""
        return [
            "ssh", "-i", str(LAB / "id_ed25519"),
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "-o", "BatchMode=yes", "-o", "ConnectTimeout=10",
            "-o", "ControlMaster=auto", "-o", f"ControlPath=/tmp/noslop-test-{self.name}-%C", "-o", "ControlPersist=60",
            f"{self.user}@{self.address}",
        ]  # fmt: skip

    def run(self, command: str, *, stdin: str = "", timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a shell command as the ordinary user; the caller looks at the exit code."""
        return subprocess.run(
            [*self.ssh(), command], input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def sudo(self, command: str, *, stdin: str = "", timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root; ``stdin`` is what the command itself reads."""
        wrapped = f"sudo -k -S -p '' bash -c {shlex.quote(command)}"
        password = (LAB / "sudo_password").read_text().rstrip("\n")
        return self.run(wrapped, stdin=f"{password}\n{stdin}", timeout_s=timeout_s)

    def output_of(self, command: str, *, root: bool = False, timeout_s: float = 120) -> str:
        """What a command printed; fails the test with its complaint when it ended otherwise than with 0."""
        done = (self.sudo if root else self.run)(command, timeout_s=timeout_s)
        assert done.returncode == 0, (
            f"{self.name}: {command!r} ended with {done.returncode}: {done.stderr}{done.stdout}"
        )
        return done.stdout


def machines() -> dict[str, Machine]:
    """Every machine of the lab by name, from the inventory that its creation wrote."""
    inventory = yaml.safe_load((LAB / "machines" / "inventory.yml").read_text())
    found: dict[str, Machine] = {}

    def walk(group: dict[str, Any], inherited: dict[str, Any]) -> None:
        values = {**inherited, **(group.get("vars") or {})}
        for name, host in (group.get("hosts") or {}).items():
            merged = {**values, **(host or {})}
            if "ansible_host" in merged:
                found[name] = Machine(name, merged["ansible_host"], merged.get("ansible_user", "artist"))
        for child in (group.get("children") or {}).values():
            walk(child or {}, values)

    for group in inventory.values():
        walk(group or {}, {})
    return found


def reset() -> None:
    """Make every machine bare again: a new disk, with the same name, keys and passwords."""
    subprocess.run(["ansible-playbook", "lab/machines/reset.yml"], cwd=ROOT, check=True)


@contextlib.contextmanager
def share_taken_away(worker: Machine, share: str) -> Iterator[str]:
    """Unmount the share for as long as the block runs, so that no access mounts it again; gives its path."""
    path = f"/mnt/noslop/{share}"
    automount, mount = (
        worker.output_of(f"systemd-escape -p --suffix={kind} {path}").strip() for kind in ("automount", "mount")
    )
    worker.output_of(
        f"systemctl stop {automount} {mount}; systemctl mask --runtime {automount} {mount}",
        root=True,
    )
    try:
        yield path
    finally:
        # What a test mounted in its place goes first.
        worker.output_of(
            f"umount {path} 2>/dev/null; systemctl unmask --runtime {automount} {mount};"
            f" systemctl daemon-reload; systemctl start {automount}",
            root=True,
        )


def wait_for(what: str, look: Callable[[], T | None], *, timeout_s: float) -> T:
    """Look again and again until there is something to see; fail with ``what`` when the time is over."""
    end = time.monotonic() + timeout_s
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout_s:.0f} s in vain: {what}")
        time.sleep(0.5)
