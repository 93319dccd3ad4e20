"""Two workers save over NFS, their processes are killed, the server loses its power: nothing acknowledged is lost.

`make test-backend-nfs` is the long form.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict

from tests.backend.on_host import Task
from tests.backend.writers import Work, acknowledged
from tests.faults.backends import ENV_FILE, PROJECTS, Backends, cut, wait_for_answers
from tests.support.lab.machines import Machine

SAVES = int(os.environ.get("NOSLOP_SAVES", "60"))
KILLS = int(os.environ.get("NOSLOP_KILLS", "4"))
CUTS = int(os.environ.get("NOSLOP_CUTS", "2"))
WRITERS_EACH = 3
LARGEST_BYTES = 300_000
UNSYNCED = "/var/tmp/noslop-unsynced"
UNSYNCED_BYTES = 65_536


def leave_unsynced(server: Machine) -> None:
    """Write something beside the share, on its file system, and let nobody sync it."""
    at = server.output_of(f"stat -c %d {PROJECTS} /var/tmp", root=True).split()
    assert at[0] == at[1], "the control file has to be on the share's own file system"
    server.output_of(f"rm -f {UNSYNCED}; sync; head -c {UNSYNCED_BYTES} /dev/zero | tr '\\0' x > {UNSYNCED}", root=True)


def is_whole(server: Machine) -> bool:
    seen = server.sudo(f"tr -d -c x < {UNSYNCED} | wc -c").stdout.strip()
    return seen == str(UNSYNCED_BYTES)


def test_no_acknowledged_byte_is_lost(backends: Backends) -> None:
    first = backends.hosts[0]
    work = Work(first.ask("projects", ENV_FILE), SAVES, 2 * WRITERS_EACH, LARGEST_BYTES, repeated=5)
    expected = sum(len(work.numbers(writer)) for writer in range(work.writers))
    begun = time.monotonic()
    for turn, host in enumerate(backends.hosts):
        # Neighbours are on different machines, and so are most pairs that send the same.
        mine = [writer for writer in range(work.writers) if writer % 2 == turn]
        host.start(Task(work, mine, (KILLS + turn) // 2, seed=turn))
    forgiven = 0
    for number in range(1, CUTS + 1):
        wait_for_answers(backends, number * expected // CUTS if number < CUTS else None)
        leave_unsynced(backends.server)
        cut(backends)
        forgiven += is_whole(backends.server)
        print(f"cut {number} of {CUTS}, {sum(host.progress()[0] for host in backends.hosts)} answers", flush=True)
    assert forgiven < CUTS, "no cut lost what was not synced, so this proves nothing"
    assert sum(host.kills() for host in backends.hosts) == KILLS

    answers = acknowledged(host.logs() for host in backends.hosts)
    said = {"work": asdict(work), "acknowledged": [asdict(answer) for answer in answers.values()]}
    for host in backends.hosts:
        host.forget_cached()
    report = first.ask("check", ENV_FILE, said=said)
    on_disk = backends.server_hashes()
    for host in backends.hosts:
        host.forget_cached()
        seen = host.ask("hash", PROJECTS)
        for answer in answers.values():
            path = f"{answer.project}/{answer.path}"
            blake3, sha256 = seen[path]
            assert blake3 == answer.blake3, (host.machine.name, path)
            assert on_disk[path] == sha256, path
    print(
        f"{len(answers)} saves acknowledged, {expected} requests, {KILLS} kills, {CUTS} power cuts "
        f"({CUTS - forgiven} lost what nobody had synced), {report['gaps']} gaps, {time.monotonic() - begun:.0f} s"
    )
