# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Play the old and the new storage server of a move in two directories of this computer, with the real module."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.support.module_runner import Fault, run_module

STUDIO = "abc"
NAMES = ("projects", "comfyui_models")
AWKWARD = "two\nlines \udcff'\"; $(touch x)"
"""A name with a line break, a byte that is no UTF-8, and what a shell would run."""


class MoveHost:
    """One of the two hosts. Its shares lie below `root`."""

    def __init__(self, directory: Path, part: str, peer: str) -> None:
        self.root, self.part, self.peer = directory / "mnt", part, peer
        self.root.mkdir(parents=True)
        self.directories = {
            "run_directory": str(directory / "run"),
            "state_directory": str(directory / "state"),
            "record_file": str(directory / "state.json"),
        }

    def path(self, share: str) -> Path:
        """Return the directory of a share."""
        return self.root / share

    def staging(self, share: str) -> Path:
        """Return the directory of the copy of a share."""
        return self.root / ".noslop-move" / share

    def run(
        self,
        state: str,
        *,
        check: bool = False,
        fault: Fault | None = None,
        **arguments: Any,  # noqa: ANN401 - values of parameters
    ) -> dict[str, Any]:
        """Run a step, and return what the module answers."""
        values = {
            "state": state,
            "part": self.part,
            "peer": self.peer,
            "studio_id": STUDIO,
            "shares": [{"name": name, "path": str(self.path(name))} for name in NAMES],
            "min_free_gb": 0,
            **self.directories,
            **arguments,
        }
        return run_module("storage_move", values, check=check, fault=fault)

    def do(self, state: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - values of parameters
        """Run a step that must succeed."""
        answer = self.run(state, **arguments)
        assert "died" not in answer, answer
        assert not answer.get("failed"), answer
        return answer


class Move:
    """A move between two hosts, in the steps of the playbook."""

    def __init__(self, directory: Path) -> None:
        self.source = MoveHost(directory / "old", "source", "new")
        self.target = MoveHost(directory / "new", "target", "old")
        self.connection: dict[str, Any] = {}

    def begin(self) -> str:
        """Begin, or go on; return the stamp of the kept directories."""
        stamp = str(self.source.do("begun")["move"]["stamp"])
        self.target.do("begun", stamp=stamp)
        return stamp

    def connect(self) -> None:
        """Exchange the certificates, and serve."""
        theirs = self.target.do("keyed")["certificate"]
        ours = self.source.do("keyed")["certificate"]
        served = self.source.do("served", address="127.0.0.1", clients=["127.0.0.1"], certificate=theirs)
        self.connection = {"address": "127.0.0.1", "port": served["port"], "certificate": ours}

    def copy(self, *, final: bool = False) -> None:
        """Copy everything."""
        self.target.do("copied", final=final, **self.connection)

    def compare(self) -> tuple[list[str], list[dict[str, Any]]]:
        """List both sides. Return the differences and the old server's lists."""
        listings = self.source.do("listed")["listings"]
        self.target.do("listed")
        given = [{key: one[key] for key in ("name", "digest", "fingerprint")} for one in listings]
        return self.target.do("compared", listings=given, **self.connection)["differences"], given

    def end(self) -> None:
        """End the server, and what a test left."""
        for host in (self.source, self.target):
            host.run("stopped")


def make_shares(host: MoveHost) -> None:
    """Make shares with files of every kind: owners, modes, times, holes, hard links, ACLs, attributes, odd names."""
    for name in NAMES:
        host.path(name).mkdir(mode=0o2775)
        marker = {"studio_id": STUDIO, "share": name, "share_id": "1"}
        (host.path(name) / ".noslop-share").write_text(json.dumps(marker))
        os.chown(host.path(name), 2600, 2600)
        host.path(name).chmod(0o2775)
    top = host.path("projects")
    (top / "film/shots").mkdir(parents=True)
    big = top / "film/shots/one.bin"
    big.write_bytes(os.urandom(300_000))
    os.chown(big, 2600, 2601)
    big.chmod(0o640)
    os.utime(big, ns=(1_600_000_000_123_456_789, 1_600_000_000_987_654_321))
    os.setxattr(big, "user.title", b"a shot")
    os.link(big, top / "film/final.bin")
    with (top / "film/sparse.bin").open("wb") as stream:
        stream.seek(8_000_000)
        stream.write(b"end")
    (top / AWKWARD).write_text("odd")
    (top / "film/link").symlink_to("shots/one.bin")
    (top / "empty").mkdir(mode=0o700)
    os.utime(top / "film/shots", ns=(1, 1_500_000_000_000_000_001))
    (host.path("comfyui_models") / "model.safetensors").write_bytes(os.urandom(50_000))
