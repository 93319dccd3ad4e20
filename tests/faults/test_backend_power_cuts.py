"""Test that two workers lose no acknowledged save when writers are killed and the server loses its power.

`make test-backend-nfs` is the long form.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict

from tests.backend.on_host import Task
from tests.backend.writers import Work, acknowledged
from tests.faults.backends import ENV_FILE, PROJECTS, Backends, cut_power, wait_for_answers
from tests.support.lab.machines import Machine

SAVES = int(os.environ.get("NOSLOP_SAVES", "60"))
KILLS = int(os.environ.get("NOSLOP_KILLS", "4"))
CUTS = int(os.environ.get("NOSLOP_CUTS", "2"))
WRITERS_EACH = 3
LARGEST_BYTES = 300_000
UNSYNCED = "/var/tmp/noslop-unsynced"
UNSYNCED_BYTES = 65_536


def write_unsynced_file(server: Machine) -> None:
    """Write a file beside the share, on its file system, without a sync."""
    at = server.check_output(f"stat -c %d {PROJECTS} /var/tmp", root=True).split()
    assert at[0] == at[1], "the control file has to be on the share's own file system"
    server.check_output(
        f"rm -f {UNSYNCED}; sync; head -c {UNSYNCED_BYTES} /dev/zero | tr '\\0' x > {UNSYNCED}", root=True
    )


def is_unsynced_file_complete(server: Machine) -> bool:
    seen = server.sudo(f"tr -d -c x < {UNSYNCED} | wc -c").stdout.strip()
    return seen == str(UNSYNCED_BYTES)


def test_no_acknowledged_byte_is_lost(backends: Backends) -> None:
    first = backends.hosts[0]
    work = Work(first.run_program("projects", ENV_FILE), SAVES, 2 * WRITERS_EACH, LARGEST_BYTES, repeated=5)
    expected = sum(len(work.numbers(writer)) for writer in range(work.writers))
    started = time.monotonic()
    for number, host in enumerate(backends.hosts):
        # Writers take turns between machines, so most pairs that send the same request are on two of them.
        writers = [writer for writer in range(work.writers) if writer % 2 == number]
        host.start_writers(Task(work, writers, (KILLS + number) // 2, seed=number))
    cuts_without_loss = 0
    for number in range(1, CUTS + 1):
        wait_for_answers(backends, number * expected // CUTS if number < CUTS else None)
        write_unsynced_file(backends.server)
        cut_power(backends)
        cuts_without_loss += is_unsynced_file_complete(backends.server)
        print(f"cut {number} of {CUTS}, {sum(host.read_progress()[0] for host in backends.hosts)} answers", flush=True)
    assert cuts_without_loss < CUTS, "no cut lost what was not synced, so this proves nothing"
    assert sum(host.count_kills() for host in backends.hosts) == KILLS

    answers = acknowledged(host.read_logs() for host in backends.hosts)
    document = {"work": asdict(work), "acknowledged": [asdict(answer) for answer in answers.values()]}
    for host in backends.hosts:
        host.drop_caches()
    report = first.run_program("check", ENV_FILE, stdin=document)
    on_disk = backends.hash_server_files()
    for host in backends.hosts:
        host.drop_caches()
        seen = host.run_program("hash", PROJECTS)
        for answer in answers.values():
            path = f"{answer.project}/{answer.path}"
            blake3, sha256 = seen[path]
            assert blake3 == answer.blake3, (host.machine.name, path)
            assert on_disk[path] == sha256, path
    print(
        f"{len(answers)} saves acknowledged, {expected} requests, {KILLS} kills, {CUTS} power cuts "
        f"({CUTS - cuts_without_loss} lost unsynced bytes), {report['gaps']} gaps, {time.monotonic() - started:.0f} s"
    )
