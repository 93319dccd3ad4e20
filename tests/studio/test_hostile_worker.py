# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what root on one worker reaches on the storage server, by forged NFS file handles and by its own mounts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.studio.conftest import OWN_DISK, Studio
from tests.support.lab.machines import Machine

FORGED_HANDLES = Path(__file__).with_name("forged_handles.py")
STATE = "/var/lib/noslop"
#: Paths on the storage server that a hostile worker tries, by operation.
TARGETS: dict[str, tuple[str, ...]] = {
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


def try_forged_handles(worker: Machine, server: Machine, share: str) -> dict[str, str]:
    """Try every operation from inside one share. Return the server's answer to each."""
    worker.check_output(f"cat > /tmp/forged_handles.py <<'END'\n{FORGED_HANDLES.read_text()}\nEND")
    attempts = [[operation, path] for operation, paths in TARGETS.items() for path in paths]
    command = f"echo '{json.dumps(attempts)}' | python3 /tmp/forged_handles.py {server.address} /mnt/noslop/{share}"
    done = worker.check_output(command, root=True)
    answers: dict[str, str] = json.loads(done)
    assert len(answers) == len(attempts)
    return answers


@pytest.mark.parametrize("share", WRITABLE)
def test_forged_handles_do_not_leave_a_share_on_the_system_disk(studio: Studio, share: str) -> None:
    answers = try_forged_handles(studio.machines["worker1"], studio.machines["server"], share)
    print(f"{share}: {sum(answer != 'OK' for answer in answers.values())} of {len(answers)} refused")
    assert {what: answer for what, answer in answers.items() if answer == "OK"} == {}


def test_forged_handles_do_not_leave_a_share_with_a_file_system_of_its_own(studio: Studio) -> None:
    answers = try_forged_handles(studio.machines["worker1"], studio.machines["server"], OWN_DISK)
    reached = {what: answer for what, answer in answers.items() if answer == "OK"}
    print(f"{OWN_DISK}: {len(answers) - len(reached)} of {len(answers)} refused")
    assert set(reached) <= {"look /"}  # the root of that file system is the share itself


def test_the_accounts_of_exports_own_nothing_outside_their_shares(studio: Studio) -> None:
    server = studio.machines["server"]
    exports = server.check_output("cat /etc/exports.d/noslop.exports", root=True)
    numbers = sorted(set(re.findall(r"anonuid=(\d+)", exports)))
    assert len(numbers) >= 4, exports
    owned = " -o ".join(f"-uid {number} -o -gid {number}" for number in numbers)
    shares = re.findall(r"^(/\S+)", exports, re.MULTILINE)
    kept = " -o ".join(f"-path {share}" for share in shares)
    # The storage root itself carries the group that lets people in.
    outside = server.check_output(
        rf"find / -xdev \( {kept} -o -path /proc \) -prune -o \( {owned} \) -print", root=True
    ).split()
    assert [path for path in outside if path != "/mnt/noslop"] == []


def test_worker_cannot_change_the_custom_nodes_of_others(studio: Studio) -> None:
    worker = studio.machines["worker1"]
    nodes = "/mnt/noslop/comfyui/custom_nodes"
    assert "Read-only file system" in worker.sudo(f"touch {nodes}/evil.py").stderr
    remounted = worker.sudo(
        f"mount -o remount,rw {nodes}; touch {nodes}/evil.py; rc=$?; mount -o remount,ro {nodes}; exit $rc"
    )
    assert remounted.returncode != 0
    assert "evil.py" not in studio.machines["server"].check_output(f"ls {nodes}", root=True)
