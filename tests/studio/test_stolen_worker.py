# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root on one worker: what forged NFS file handles reach on the storage server, and what its own mounts allow."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.studio.conftest import OWN_DISK, Studio
from tests.support.lab.machines import Machine

FORGE = Path(__file__).with_name("forge.py")
STATE = "/var/lib/noslop"
#: What a worker would want on the storage server, by operation.
WANTED: dict[str, tuple[str, ...]] = {
    "look": ("/", "/etc", "/var/lib/noslop/backend", "/home/artist"),
    "read": ("/etc/passwd", "/etc/shadow", "/etc/noslop/backend.env", f"{STATE}/backend/backend.sqlite3"),
    "write": ("/etc/passwd", "/etc/exports.d/noslop.exports", f"{STATE}/backend/backend.sqlite3"),
    "create": (
        "/etc/cron.d", "/opt/noslop", f"{STATE}/comfyui", f"{STATE}/backend", "/mnt/noslop/comfyui/custom_nodes",
        "/home/artist",
    ),
    "link": ("/etc/shadow", "/etc/passwd", f"{STATE}/backend/backend.sqlite3"),
}  # fmt: skip
WRITABLE = ("projects", "comfyui/models", "ollama/models")


def forged(worker: Machine, server: Machine, share: str) -> dict[str, str]:
    """Try everything from inside one share. Returns the server's answer to each attempt."""
    worker.output_of(f"cat > /tmp/forge.py <<'END'\n{FORGE.read_text()}\nEND")
    attempts = [[operation, path] for operation, paths in WANTED.items() for path in paths]
    command = f"echo '{json.dumps(attempts)}' | python3 /tmp/forge.py {server.address} /mnt/noslop/{share}"
    done = worker.output_of(command, root=True)
    answers: dict[str, str] = json.loads(done)
    assert len(answers) == len(attempts)
    return answers


@pytest.mark.parametrize("share", WRITABLE)
def test_forged_handles_do_not_leave_a_share_on_the_system_disk(studio: Studio, share: str) -> None:
    answers = forged(studio.machines["worker1"], studio.machines["server"], share)
    print(f"{share}: {sum(answer != 'OK' for answer in answers.values())} of {len(answers)} refused")
    assert {what: answer for what, answer in answers.items() if answer == "OK"} == {}


def test_forged_handles_do_not_leave_a_share_with_a_file_system_of_its_own(studio: Studio) -> None:
    answers = forged(studio.machines["worker1"], studio.machines["server"], OWN_DISK)
    reached = {what: answer for what, answer in answers.items() if answer == "OK"}
    print(f"{OWN_DISK}: {len(answers) - len(reached)} of {len(answers)} refused")
    assert set(reached) <= {"look /"}  # the root of that file system is the share itself


def test_the_accounts_of_exports_own_nothing_outside_their_shares(studio: Studio) -> None:
    server = studio.machines["server"]
    exports = server.output_of("cat /etc/exports.d/noslop.exports", root=True)
    numbers = sorted(set(re.findall(r"anonuid=(\d+)", exports)))
    assert len(numbers) >= 4, exports
    owned = " -o ".join(f"-uid {number} -o -gid {number}" for number in numbers)
    shares = re.findall(r"^(/\S+)", exports, re.MULTILINE)
    kept = " -o ".join(f"-path {share}" for share in shares)
    # The storage root itself carries the group that lets people in.
    outside = server.output_of(
        rf"find / -xdev \( {kept} -o -path /proc \) -prune -o \( {owned} \) -print", root=True
    ).split()
    assert [path for path in outside if path != "/mnt/noslop"] == []


def test_a_worker_cannot_change_the_custom_nodes_of_others(studio: Studio) -> None:
    worker = studio.machines["worker1"]
    nodes = "/mnt/noslop/comfyui/custom_nodes"
    assert "Read-only file system" in worker.sudo(f"touch {nodes}/evil.py").stderr
    again = worker.sudo(
        f"mount -o remount,rw {nodes}; touch {nodes}/evil.py; rc=$?; mount -o remount,ro {nodes}; exit $rc"
    )
    assert again.returncode != 0
    assert "evil.py" not in studio.machines["server"].output_of(f"ls {nodes}", root=True)
