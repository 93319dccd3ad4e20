# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Short forms of `python -m tests.backend.processes`, and of what tests/faults does on several machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from noslop_backend.core.errors import QuotaExceededError
from noslop_backend.schemas import ProjectUpdate
from noslop_backend.share.layout import FileKind

from tests.backend.on_host import DONE, LOGS, TASK, Task
from tests.backend.postgresql import Cluster
from tests.backend.processes import run
from tests.backend.studio import Studio, make_studio
from tests.backend.writers import Work, acknowledged

ROOT = Path(__file__).resolve().parents[2]


def test_processes_killed_at_random_lose_nothing(studio: Studio) -> None:
    done = run(studio, operations=240, processes=4, kills=12, seed=7)
    assert done.kills >= 10


def test_processes_share_a_quota_to_the_last_byte(studio: Studio, project: str) -> None:
    """Each saves until there is no room; together they got all of it and no more."""
    studio.storage.update_project_metadata(project, ProjectUpdate(quota_bytes=25 * 40))
    studio.close()
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            storage, status = studio.another(), 1
            try:
                while True:
                    storage.save_intermediate(project, FileKind.FRAME, "f", b"x" * 40)
            except QuotaExceededError:
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    # Whoever was refused may have been refused for what another gave back: the last bytes are still to be had.
    while studio.storage.get_project(project).used_bytes < 25 * 40:
        studio.storage.save_intermediate(project, FileKind.FRAME, "f", b"x" * 40)
    assert studio.storage.get_storage_stats(project).intermediate_count == 25
    studio.check(project)


def test_what_runs_on_machines_runs_here_too(cluster: Cluster, place: Path) -> None:
    """Two hosts, each with its writers, one database and one share: what tests/faults does over NFS."""
    studio = make_studio(place, cluster.new_database())
    settings = studio.settings()
    env_file = place / "backend.env"
    directories = {name.upper(): value for name, value in settings.model_dump().items() if name.endswith("_dir")}
    said = directories | {
        "NOSLOP_STUDIO_ID": settings.studio_id,
        "NOSLOP_DATABASE_URL": settings.database_url,
        "NOSLOP_LEASE_S": 1,
    }
    env_file.write_text("".join(f'{name}="{value}"\n' for name, value in said.items()))

    def on_host(*words: str | Path, stdin: str = "") -> Any:  # noqa: ANN401 - JSON
        command = [sys.executable, "-m", "tests.backend.on_host", *map(str, words)]
        done = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    work = Work(on_host("projects", env_file), operations=24, writers=4, largest_bytes=100_000, repeated=3)
    hosts = [place / "host0", place / "host1"]
    with ThreadPoolExecutor() as pool:
        for number, host in enumerate(hosts):
            host.mkdir()
            (host / TASK).write_text(Task(work, [number, number + 2], kills=2, seed=number).dump())
        list(pool.map(lambda host: on_host("write", env_file, host), hosts))
    assert [json.loads((host / DONE).read_text()) for host in hosts] == [{"kills": 2}] * 2
    answers = acknowledged(log.read_text() for host in hosts for log in (host / LOGS).glob("*.log"))
    report = {"work": asdict(work), "acknowledged": [asdict(answer) for answer in answers.values()]}
    assert on_host("check", env_file, stdin=json.dumps(report))["gaps"] >= 0
    found = on_host("hash", studio.root)
    for answer in answers.values():
        assert found[f"{answer.project}/{answer.path}"][0] == answer.blake3
    assert on_host("project", env_file, work.projects[0])["recovered"]["finished"] == []
    # One byte of one file is another one: the check says so.
    victim = studio.root / answers[1].project / answers[1].path
    victim.chmod(0o644)
    victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    with pytest.raises(AssertionError):
        on_host("check", env_file, stdin=json.dumps(report))
