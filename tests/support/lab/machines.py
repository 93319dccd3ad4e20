"""Reach the lab's virtual machines over SSH as the ordinary user, with sudo where a test needs root."""

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
        """Return the start of a command line that runs something on the machine."""
        return [
            "ssh", "-i", str(LAB / "id_ed25519"),
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "-o", "BatchMode=yes", "-o", "ConnectTimeout=10",
            "-o", "ControlMaster=auto", "-o", f"ControlPath=/tmp/noslop-test-{self.name}-%C", "-o", "ControlPersist=60",
            f"{self.user}@{self.address}",
        ]  # fmt: skip

    def run(self, command: str, *, stdin: str = "", timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a shell command as the ordinary user. The caller checks the exit code."""
        return subprocess.run(
            [*self.ssh(), command], input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def sudo(self, command: str, *, stdin: str = "", timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root; ``stdin`` is what the command itself reads."""
        wrapped = f"sudo -k -S -p '' bash -c {shlex.quote(command)}"
        password = (LAB / "sudo_password").read_text().rstrip("\n")
        return self.run(wrapped, stdin=f"{password}\n{stdin}", timeout_s=timeout_s)

    def check_output(self, command: str, *, root: bool = False, timeout_s: float = 120) -> str:
        """Return what a command printed. Fail the test with its error output when it ended with another code than 0."""
        done = (self.sudo if root else self.run)(command, timeout_s=timeout_s)
        assert done.returncode == 0, (
            f"{self.name}: {command!r} ended with {done.returncode}: {done.stderr}{done.stdout}"
        )
        return done.stdout


def list_machines() -> dict[str, Machine]:
    """Return every machine of the lab by name, from the inventory that its creation wrote."""
    inventory = yaml.safe_load((LAB / "machines" / "inventory.yml").read_text())
    machines: dict[str, Machine] = {}

    def add_hosts(group: dict[str, Any], inherited: dict[str, Any]) -> None:
        values = {**inherited, **(group.get("vars") or {})}
        for name, host in (group.get("hosts") or {}).items():
            merged = {**values, **(host or {})}
            if "ansible_host" in merged:
                machines[name] = Machine(name, merged["ansible_host"], merged.get("ansible_user", "artist"))
        for child in (group.get("children") or {}).values():
            add_hosts(child or {}, values)

    for group in inventory.values():
        add_hosts(group or {}, {})
    return machines


def reset_machines() -> None:
    """Make every machine bare again: a new disk, with the same name, keys and passwords."""
    subprocess.run(["ansible-playbook", "lab/machines/reset.yml"], cwd=ROOT, check=True)


@contextlib.contextmanager
def unmounted_share(worker: Machine, share: str) -> Iterator[str]:
    """Unmount a share while the block runs, so that no access mounts it again. Yield its path."""
    path = f"/mnt/noslop/{share}"
    automount, mount = (
        worker.check_output(f"systemd-escape -p --suffix={kind} {path}").strip() for kind in ("automount", "mount")
    )
    worker.check_output(
        f"systemctl stop {automount} {mount}; systemctl mask --runtime {automount} {mount}",
        root=True,
    )
    try:
        yield path
    finally:
        # What a test mounted in its place goes first.
        worker.check_output(
            f"umount {path} 2>/dev/null; systemctl unmask --runtime {automount} {mount};"
            f" systemctl daemon-reload; systemctl start {automount}",
            root=True,
        )


def wait_for(what: str, probe: Callable[[], T | None], *, timeout_s: float) -> T:
    """Call a function again and again until it returns something. Fail with ``what`` when the time is over."""
    end = time.monotonic() + timeout_s
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout_s:.0f} s in vain: {what}")
        time.sleep(0.5)


def parse_checksums(output: str) -> dict[str, str]:
    """Return the digest of each path in the output of `sha256sum`, without the `./` that find puts before it."""
    pairs = (line.split(maxsplit=1) for line in output.splitlines())
    return {path.removeprefix("./"): digest for digest, path in pairs}
