# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the whole playbook between two hosts with real SSH and rsync, and with the exports in a file."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lab.machines import ROOT
from tests.support.move_hosts import AWKWARD
from tests.support.move_studio import LinkedHost, host_variables, write_groups
from tests.unit.conftest import StartSshd

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces need root"),
    pytest.mark.skipif(not shutil.which("rsync"), reason="rsync is not installed (Debian: apt install rsync)"),
]
SHARES = {"projects": "projects", "comfyui_models": "comfyui/models"}
SPOIL = """#!/bin/sh
# Copies as the real one, and then changes a byte of a model, whose time stays.
/usr/bin/rsync "$@"; code=$?
model=$(find {host}/storage -path '*/.noslop-move/*' -name model.safetensors)
[ -n "$model" ] || exit $code
touch -r "$model" {host}/time
printf x | dd of="$model" conv=notrunc 2>/dev/null
touch -r {host}/time "$model"
exit $code
"""


class MoveStudio:
    """A server with shares and a worker."""

    def __init__(self, directory: Path, root: Path, start_sshd: StartSshd) -> None:
        self.server = LinkedHost(directory / "server", root)
        self.worker = LinkedHost(directory / "worker", root)
        self.inventory = directory / "inventory"
        self.inventory.mkdir()
        hosts = {}
        for name, host, address in (("server", self.server, "127.0.0.86"), ("worker", self.worker, "127.0.0.1")):
            sshd = start_sshd(address, options=host.list_options(), prefix=host.list_prefix())
            hosts[name] = host_variables(sshd, directory / "known_hosts")
        variables = {
            "ansible_become": False,
            "noslop_studio_id": "abc",
            "noslop_storage_root": str(root),
            "noslop_min_free_gb": 0.001,
            "nfs_server_quiet_units": [],
            "nfs_server_insecure_clients": ["127.0.0.1"],
        }
        (self.inventory / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts, "vars": variables}}))
        write_groups(self.inventory, "server", "worker")

    def run(self, **variables: object) -> tuple[int, str]:
        """Run the playbook. Return its exit code and its output as one line."""
        values = json.dumps({"noslop_move_to": "worker", **variables})
        done = subprocess.run(
            [
                *(Path(sys.executable).with_name("ansible-playbook"), "-i", self.inventory),
                *(ROOT / "playbooks/move_storage.yml", "-e", values),
            ],
            cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def make_shares(self) -> None:
        """Make the shares as the role of the server does, with some files."""
        variables = (self.inventory / "hosts.yml").read_text()
        play = {
            "name": "Export",
            "hosts": "storage_server",
            "gather_facts": True,
            "tasks": [
                {
                    "name": "Export",
                    "ansible.builtin.include_role": {"name": "noslop.studio.nfs_server"},
                }
            ],
        }
        playbook = self.inventory.parent / "export.yml"
        playbook.write_text(json.dumps([play]))
        done = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", self.inventory, playbook],
            cwd=ROOT, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr + variables
        (self.server.storage / "projects" / AWKWARD).write_text("odd")
        (self.server.storage / "comfyui/models/model.safetensors").write_bytes(os.urandom(200_000))


@pytest.fixture
def studio(sshd_server: StartSshd) -> Iterator[MoveStudio]:
    with tempfile.TemporaryDirectory(prefix="noslop-test-", dir="/srv") as directory:
        root = Path(directory) / "mnt"
        root.mkdir()
        one = MoveStudio(Path(directory), root, sshd_server)
        one.make_shares()
        yield one


class Writer:
    """A client that writes files as long as the exports permit it, and remembers which were acknowledged."""

    def __init__(self, host: LinkedHost) -> None:
        self.acknowledged: dict[str, str] = {}
        self._host = host
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        number = 0
        directory = self._host.storage / "projects"
        while not self._ended.wait(0.02):
            with (self._host.directory / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if "(rw" not in (self._host.directory / "exported").read_text():
                    continue
                data = os.urandom(2_000)
                (directory / f"w{number}").write_bytes(data)
                self.acknowledged[f"w{number}"] = hashlib.sha256(data).hexdigest()
                number += 1

    def stop(self) -> dict[str, str]:
        """End, and return the SHA-256 of each acknowledged file."""
        self._ended.set()
        self._thread.join()
        return self.acknowledged


def list_kept(studio: MoveStudio) -> list[Path]:
    return sorted(studio.server.storage.glob("**/.noslop-moved-2*"))


@pytest.mark.long
def test_move_with_a_writer_then_the_end_and_no_way_back_by_an_old_inventory(studio: MoveStudio) -> None:
    code, output = studio.run(noslop_move_to="nobody")
    assert code != 0
    assert "Nothing was changed" in output
    writer = Writer(studio.server)
    code, output = studio.run()
    acknowledged = writer.stop()
    assert code == 0, output
    assert len(acknowledged) > 100
    projects = studio.worker.storage / "projects"
    assert {name: hashlib.sha256((projects / name).read_bytes()).hexdigest() for name in acknowledged} == acknowledged
    assert (projects / AWKWARD).read_text() == "odd"
    assert (projects / ".noslop-share").exists()
    assert projects.stat().st_uid == 2600
    assert not (studio.worker.storage / ".noslop-move").exists()
    assert not (studio.server.storage / "projects").exists()
    assert len(list_kept(studio)) == 3, "beside the shares, below three directories"
    steps = [line for line in studio.server.read_log() if line.startswith(("export", "stop"))]
    assert steps == [
        "export rw",
        "stop -- noslop-backend.service",
        "export ro",
        "export nothing",
        "stop -- nfs-server.service",
    ]
    assert "put worker into the group storage_server" in output

    code, output = studio.run()
    assert code == 0, "again, before the inventory was changed"
    assert (projects / ".noslop-share").exists()

    write_groups(studio.inventory, "worker", "server")
    code, output = studio.run()
    assert code == 0, output
    assert "start --no-block -- noslop-backend.service" in studio.server.read_log()
    assert f"rm -r {studio.server.root}/.noslop-moved-" in output
    code, output = studio.run(noslop_move_undo=True)
    assert code != 0
    assert (projects / ".noslop-share").exists()


@pytest.mark.long
def test_planted_difference_stops_the_switch_and_everything_goes_on_then_it_is_given_up(studio: MoveStudio) -> None:
    studio.worker.write_program("rsync", SPOIL)
    code, output = studio.run()
    assert code != 0
    assert "comfyui_models: 'model.safetensors' differs in content." in output
    assert "server serves on as before" in output
    assert (studio.server.storage / "projects" / AWKWARD).read_text() == "odd"
    assert list_kept(studio) == []
    assert not (studio.worker.storage / "projects").exists()
    log = studio.server.read_log()
    assert [line for line in log if line.startswith("export")] == ["export rw", "export ro", "export rw"]
    assert log[-1] == "start --no-block -- noslop-backend.service"

    code, output = studio.run(noslop_move_undo=True)
    assert code == 0, output
    assert not list(studio.worker.storage.glob("**/.noslop-move"))
    assert (studio.server.storage / "projects/.noslop-share").exists()
    studio.make_shares()
