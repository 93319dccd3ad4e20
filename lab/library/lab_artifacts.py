#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the stand-ins for the vendors' downloads once, and serve them on a lab bridge."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_artifacts
short_description: Artifact server of the test lab
version_added: 0.1.0
author: NoSlop contributors (@noslop)
description:
  - Builds the stand-ins' tree when it is missing or its sources changed, and serves it on one address.
options:
  state:
    description: Whether the server runs. The tree is kept when it stops.
    type: str
    choices: [started, stopped]
    default: started
  sources:
    description: Directory with C(build.py) and C(serve.py).
    type: path
    required: true
  root:
    description: Directory of the tree.
    type: path
    required: true
  bind:
    description: Address to listen on.
    type: str
    required: true
  port:
    description: Port to listen on.
    type: int
    default: 8042
  pid_file:
    description: File with the server's process id. Its log lies beside it.
    type: path
    required: true
attributes:
  check_mode:
    description: Reports what would change.
    support: full
"""

EXAMPLES = r"""
- name: Serve the stand-ins
  lab_artifacts:
    sources: lab/standins
    root: .lab/artifacts
    bind: 10.77.42.1
    pid_file: .lab/machines/artifacts.pid
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode.
  type: list
  elements: str
  returned: always
"""

import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

START_TIMEOUT_S = 30.0


def sources_hash(sources: Path) -> str:
    """Return a hash of every file that the tree is built from."""
    digest = hashlib.sha256()
    for path in sorted(p for p in sources.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        digest.update(str(path.relative_to(sources)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a file, so that two labs that start at once build the tree once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Server:
    """The tree and the process; each method checks the state first, then records and makes the missing changes."""

    def __init__(self, module: AnsibleModule) -> None:
        params = module.params
        self.module = module
        self.sources, self.root = Path(params["sources"]).absolute(), Path(params["root"]).absolute()
        self.bind, self.port, self.pid_file = (
            str(params["bind"]),
            int(params["port"]),
            Path(params["pid_file"]).absolute(),
        )
        self.actions: list[str] = []

    def act(self, change: str) -> bool:
        """Record a change, and return whether to make it (not in check mode)."""
        self.actions.append(change)
        return not self.module.check_mode

    def pid(self) -> int | None:
        """Return the server's process id, if the pid file names a process that serves this tree on this address."""
        try:
            pid = int(self.pid_file.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except (OSError, ValueError):
            return None
        return pid if {str(self.root), self.bind} <= set(words) else None

    def build(self) -> None:
        """Build the tree when it is missing or its sources changed; a server of the old tree stops."""
        stamp = self.root.with_name(self.root.name + ".built-from")
        with locked(self.root.with_name(self.root.name + ".lock")):
            current_hash = sources_hash(self.sources)
            if self.root.is_dir() and stamp.exists() and stamp.read_text() == current_hash:
                return
            if not self.act("build the tree"):
                return
            work = self.root.with_name(self.root.name + ".new")
            old = self.root.with_name(self.root.name + ".old")
            for leftover in (work, old):
                shutil.rmtree(leftover, ignore_errors=True)
            self.module.run_command([sys.executable, str(self.sources / "build.py"), str(work)], check_rc=True)
            if self.root.exists():
                self.root.rename(old)
            work.rename(self.root)
            stamp.write_text(current_hash)
            shutil.rmtree(old, ignore_errors=True)
            # A running server resolves paths anew, but must not serve anything that it cached of the old tree.
            self.stop()

    def answers(self) -> bool:
        """Return whether a server accepts connections on the address."""
        try:
            socket.create_connection((self.bind, self.port), timeout=2).close()
        except OSError:
            return False
        return True

    def start(self) -> None:
        """Start the server unless it runs, and wait until it answers."""
        if self.pid() is not None or not self.act("start"):
            return
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        log_path = self.pid_file.with_suffix(".log")
        command = [sys.executable, str(self.sources / "serve.py"), "--bind", self.bind]
        command += ["--port", str(self.port), "--root", str(self.root)]
        with log_path.open("a") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        self.pid_file.write_text(f"{process.pid}\n")
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log_path.read_text()[-2000:]
                self.module.fail_json(msg=f"The artifact server does not answer on {self.bind}:{self.port}: {tail}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server if it runs."""
        pid = self.pid()
        if pid is not None and self.act("stop"):
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + START_TIMEOUT_S
            while self.pid() is not None and time.monotonic() < deadline:
                time.sleep(0.02)
        if not self.module.check_mode:
            self.pid_file.unlink(missing_ok=True)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
            "sources": {"type": "path", "required": True},
            "root": {"type": "path", "required": True},
            "bind": {"type": "str", "required": True},
            "port": {"type": "int", "default": 8042},
            "pid_file": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    server = Server(module)
    if module.params["state"] == "started":
        server.build()
        server.start()
    else:
        server.stop()
    module.exit_json(changed=bool(server.actions), actions=server.actions)


if __name__ == "__main__":
    main()
