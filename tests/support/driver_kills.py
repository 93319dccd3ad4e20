# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill a driver with -9 while its playbook runs over SSH, and check that nothing remains.

`python -m tests.support.driver_kills --moments 20` kills drivers at as many moments, spread over a whole run.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import secrets as random_secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from noslop_driver.ansible import studio_lock
from noslop_driver.ansible.events import Event
from noslop_driver.ansible.runner import run_playbook
from noslop_driver.secrets import Secrets
from tests.support import sshd
from tests.support.plays import ssh_inventory, write_playbook

END_TIMEOUT_S = 60.0
"""The documented limit: no process of a killed driver runs longer than this."""
TASKS = 5
LONG_TASK = TASKS
"""The number of the task that does not end by itself."""
MOMENTS = 3 * (TASKS + 1)
"""The number of lines that `run_driver` prints until the long task runs: one for the lock, and those for the start and
the end of tasks, of which the first acquires the lease."""


@dataclass(frozen=True)
class Remains:
    """The processes, files and locks that remain of a killed driver, at most `END_TIMEOUT_S` later."""

    processes: list[str]
    password_files: list[str]
    locked: bool
    leased: bool
    tasks_at_kill: int
    tasks: int
    """The number of tasks that had started on the host when all processes had ended."""


class Studio:
    """A directory with an inventory of one host with a real SSH server, a home and a runtime directory."""

    def __init__(self, directory: Path, server: sshd.SshServer) -> None:
        self.directory = directory
        # Longer than the maximum length of a socket's address.
        self.runtime = directory / ("runtime" * 20)
        self.runtime.mkdir(mode=0o700)
        # Sockets of SSH lie below it, and `directory` may be too long for the address of one.
        self.home = tempfile.TemporaryDirectory(prefix="home-")
        self.inventory = ssh_inventory(directory / "inventory", server, known_hosts=directory / "known_hosts")
        (self.inventory / ".noslop").mkdir(mode=0o700)
        self.lease = directory / "lease"
        self.started = directory / "started"
        self.started.touch()
        steps = [f"echo {number} >> {self.started}" for number in range(1, TASKS + 1)]
        steps[-1] += f"; echo $$ > {directory}/long; exec sleep 1000"
        acquire = {"name": "Acquire the lease", "noslop.studio.studio_lease": {"directory": str(self.lease)}}
        tasks = [{"name": f"Step {step[5]}", "ansible.builtin.shell": step} for step in steps]
        write_playbook(directory, acquire, *tasks, name="long.yml")
        release = {
            "name": "Release the lease",
            "noslop.studio.studio_lease": {"directory": str(self.lease), "state": "released"},
        }
        write_playbook(directory, release, name="release.yml")
        write_playbook(directory, {"name": "Run a command", "ansible.builtin.command": "true"}, name="next.yml")

    def start_driver(self, playbook: str, passwords: dict[str, str]) -> subprocess.Popen[str]:
        """Start a driver that runs a playbook."""
        own = {"HOME": self.home.name, "XDG_RUNTIME_DIR": str(self.runtime), "TMPDIR": str(self.directory)}
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.driver_kills", "--drive", self.inventory, self.directory / playbook],
            env={**os.environ, **own},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin
        process.stdin.write(json.dumps(passwords))
        process.stdin.close()
        return process

    def kill_after(self, lines: int) -> Remains:
        """Start a driver, kill it status it has printed this number of lines, and wait for the end of its processes."""
        passwords = {name: random_secrets.token_hex(12) for name in ("ssh_password", "become_password")}
        self.started.write_text("", encoding="ascii")
        process = self.start_driver("long.yml", passwords)
        assert process.stdout
        printed: list[str] = []
        for line in process.stdout:
            printed.append(line)
            if len(printed) == lines:
                break
        long = self.directory / "long"
        while lines == MOMENTS and not (long.exists() and long.read_text(encoding="ascii").endswith("\n")):
            assert process.poll() is None, printed
            time.sleep(0.05)
        process.kill()
        process.wait()
        tasks_at_kill = self._count_tasks()
        return Remains(
            locked=not self._is_unlocked(),
            leased=self.lease.exists(),
            processes=list(self._list_processes()),
            password_files=[str(path) for path in self._list_files_with(passwords.values())],
            tasks_at_kill=tasks_at_kill,
            tasks=self._count_tasks(),
        )

    def run_next(self) -> str:
        """Run the next driver to its end, and return its last line of output."""
        process = self.start_driver("next.yml", {})
        assert process.stdout
        output = process.stdout.read()
        process.wait()
        return output.splitlines()[-1]

    def list_private_files(self) -> list[str]:
        """Return the files in the runtime directory."""
        return [str(path) for path in self.runtime.iterdir()]

    def _count_tasks(self) -> int:
        return len(self.started.read_text(encoding="ascii").splitlines())

    def _is_unlocked(self) -> bool:
        """Return whether the lock is free, or becomes free in time."""
        deadline = time.monotonic() + END_TIMEOUT_S
        with (self.inventory / ".noslop/lock").open("rb") as file:
            while time.monotonic() < deadline:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    time.sleep(0.05)
                else:
                    return True
        return False

    def _list_processes(self) -> Iterator[str]:
        """Return processes that belong to the run: ansible-playbook, its modules and their processes."""
        long = self.directory / "long"
        numbers = long.read_text(encoding="ascii").split() if long.exists() else []
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                    belongs = str(self.inventory) in words or str(self.started) in words
                    if belongs or (process.name in numbers and words.startswith("sleep 1000")):
                        yield f"{process.name}: {words}"

    def _list_files_with(self, passwords: object) -> Iterator[Path]:
        """Return files that contain a password, in all directories that a run may write to."""
        assert not isinstance(passwords, str)
        texts = [password.encode() for password in passwords]  # type: ignore[attr-defined]
        for root in (self.runtime, self.directory, Path(self.home.name), Path("/dev/shm")):
            for directory, _names, files in os.walk(root):
                for path in (Path(directory, name) for name in files):
                    with contextlib.suppress(OSError):
                        if path.is_file() and any(text in path.read_bytes() for text in texts):
                            yield path


def run_driver(inventory: Path, playbook: Path) -> None:
    """Lock the studio and run the playbook as the driver does, and print a line for each event."""
    passwords = json.load(sys.stdin)

    def follow(event: Event) -> None:
        if event.kind in ("task", "start", "ok"):
            print(event.kind, flush=True)

    with studio_lock.lock(inventory / ".noslop/lock", inventory, print):
        print("locked", flush=True)
        outcome = run_playbook(
            playbook,
            inventory,
            on_event=follow,
            secrets=Secrets(**passwords),
            after_kill=str(playbook.with_name("release.yml")),
        )
    for failure in outcome.failures:
        print(failure.message, flush=True)
    print(outcome.status.value, flush=True)


def main() -> None:
    """Kill drivers at many moments, print what remains, and fail if anything does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drive", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--moments", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.drive:
        run_driver(*arguments.drive)
        return
    failed = 0
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        directory = Path(name)
        key = sshd.make_key(directory / "id_ed25519")
        server = sshd.start(directory / "sshd", key)
        try:
            for moment in range(arguments.moments):
                (directory / str(moment)).mkdir()
                studio = Studio(directory / str(moment), server)
                lines = 1 + moment * (MOMENTS - 1) // max(1, arguments.moments - 1)
                remains = studio.kill_after(lines)
                status = studio.run_next()
                clean = is_clean(remains) and status == "ok" and not studio.list_private_files()
                failed += not clean
                word = "ok" if clean else "FAILED"
                print(f"{word}: killed after line {lines} of {MOMENTS}: {remains}, next run {status}")
        finally:
            server.stop()
    print(f"{arguments.moments - failed} of {arguments.moments} moments left nothing behind")
    sys.exit(1 if failed else 0)


def is_clean(remains: Remains) -> bool:
    """Return whether nothing remains of a killed driver, and no task started after the one that was running."""
    rest = remains.processes or remains.password_files or remains.locked or remains.leased
    return not rest and remains.tasks <= remains.tasks_at_kill + 1


if __name__ == "__main__":
    main()
