# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a real Samba on loopback, in namespaces with a network and accounts of their own. Needs root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

REPOSITORY = Path(__file__).parents[2]
PYTHON = sys.executable
PROGRAMS = ("smbd", "smbclient", "pdbedit", "unshare", "nsenter")
#: The accounts of the shares, and those of two SMB users, with their numbers.
ACCOUNTS = {"noslop": 2600, "noslop-models": 2601, "noslop-ollama": 2603}
SMB_USERS = {"anna": 990, "bert": 991}
_GROUP = "noslop-smb:x:989:"
_FILES = ("passwd", "group", "shadow")


def _find_missing_programs() -> list[str]:
    """Return the programs that are not installed here."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


#: Marks of tests with the real programs.
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can run smbd, and change Samba's database"),
    pytest.mark.skipif(bool(_find_missing_programs()), reason="needs samba, samba-vfs-modules and smbclient"),
]


def render_template(template: str, **variables: object) -> str:
    """Render a template of the role smb_server with the role's defaults."""
    values: dict[str, Any] = {"noslop_studio_id": "test", "inventory_dir": "/inventory", **variables}
    done = subprocess.run(
        [PYTHON, REPOSITORY / "tests/support/template_renderer.py"],
        input=json.dumps({"template": f"smb_server/templates/{template}", "variables": values}) + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    return str(json.loads(done.stdout))


class PrivateHost:
    """A mount and a network namespace, with the accounts above. It ends when the block ends."""

    def __init__(self, directory: Path) -> None:
        """Write the files of accounts below the directory."""
        self._etc = directory / "etc"
        self._etc.mkdir()
        users = [f"{name}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin" for name, number in ACCOUNTS.items()]
        users += [f"{name}:x:{number}:989::/nonexistent:/usr/sbin/nologin" for name, number in SMB_USERS.items()]
        groups = [f"{name}:x:{number}:" for name, number in ACCOUNTS.items()]
        more = {"passwd": users, "group": [*groups, _GROUP], "shadow": []}
        for name in _FILES:
            own = [
                line for line in Path("/etc", name).read_text().splitlines() if line.partition(":")[0] not in ACCOUNTS
            ]
            (self._etc / name).write_text("\n".join([*own, *more[name]]) + "\n")

    def __enter__(self) -> Self:
        binds = "; ".join(f"mount --bind {self._etc / name} /etc/{name}" for name in _FILES)
        script = f"set -e; {binds}; ip link set lo up; echo ready; exec cat >/dev/null"
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--net", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holder.communicate()

    def command(self, *words: str | Path) -> list[str]:
        """Return the command that runs a command in the namespaces."""
        entered = ["nsenter", "--target", str(self._holder.pid), "--mount", "--net", "--"]
        return [*entered, *(str(word) for word in words)]

    def run(
        self, *words: str | Path, text: str | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there and return its output, the errors in it."""
        return subprocess.run(
            self.command(*words),
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=env,
        )


class Samba:
    """A server with one configuration. It is stopped when the block ends."""

    def __init__(self, host: PrivateHost, config: Path, log: Path) -> None:
        self.host = host
        self.config = config
        self.log = log

    def __enter__(self) -> Self:
        words = [
            "/usr/sbin/smbd",
            "--foreground",
            "--no-process-group",
            "--debug-stdout",
            f"--configfile={self.config}",
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.host.command(*words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # at its end smbd ends its process group
            )
        while self.host.run("smbcontrol", f"--configfile={self.config}", "smbd", "ping").returncode != 0:
            assert self.process.poll() is None, self.log.read_text()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.process.wait()

    def client(self, login: Path | None, share: str, commands: str, options: Sequence[str] = ()) -> str:
        """Run commands of smbclient(1) on a share and return what it prints; `login` is its file of credentials."""
        who = ["--no-pass"] if login is None else ["--authentication-file", str(login)]
        words = ["smbclient", f"//127.0.0.1/{share}", "--configfile=/dev/null", *who, *options, "--command", commands]
        return self.host.run(*words).stdout

    def open_client(self, login: Path, share: str, options: Sequence[str] = ()) -> Client:
        """Connect to a share and keep the connection until the block ends."""
        words = ["smbclient", f"//127.0.0.1/{share}", "--configfile=/dev/null", "--authentication-file", str(login)]
        return Client(self.host.command("stdbuf", "--output=L", *words, *options))


class Client:
    """A connection of smbclient(1)."""

    def __init__(self, command: list[str]) -> None:
        self._command = command

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def do(self, command: str, until: str) -> str:
        """Send a command, and return what is printed up to the line that has these words."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        printed = ""
        for line in self._process.stdout:
            printed += line
            if until in line:
                return printed
        raise AssertionError(f"{command} printed no {until!r}:\n{printed}")
