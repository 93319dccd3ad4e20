# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the tests that runs on a backend's host, with the settings of the backend there.

    python -m tests.backend.on_host projects ENV_FILE             make the projects, print their ids
    python -m tests.backend.on_host write ENV_FILE DIRECTORY      do what DIRECTORY/task.json says, answers into logs/
    python -m tests.backend.on_host check ENV_FILE                check what standard input says was acknowledged
    python -m tests.backend.on_host project ENV_FILE PROJECT_ID   check one project, whatever is in it
    python -m tests.backend.on_host hash DIRECTORY                print what every file below it holds

Needs nothing but the backend's own environment. What it prints is JSON.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from blake3 import blake3
from noslop_backend.core import settings
from noslop_backend.services import ProjectStorage

from tests.backend.checking import check_writes
from tests.backend.studio import Studio
from tests.backend.writers import Acknowledged, Work, make_projects, supervise

TASK, LOGS, DONE = "task.json", "logs", "done.json"


@dataclass(frozen=True)
class Task:
    """What the writers of one machine are to do."""

    work: Work
    writers: list[int]
    kills: int
    seed: int

    def dump(self) -> str:
        """As a text that `load` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Task:
        """Read what `dump` gave."""
        said = json.loads(text)
        return cls(**said | {"work": Work(**said["work"])})


def studio_of(env_file: str) -> Studio:
    """The studio that a host's backend belongs to."""
    found = settings.load(env_file)
    return Studio(found.project_storage_dir, found.database_url, share_id="", studio_id=found.studio_id)


def hashes(root: Path) -> dict[str, tuple[str, str]]:
    """BLAKE3 and SHA-256 of every file, by its path below the directory."""
    contents = ((path, path.read_bytes()) for path in sorted(root.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(root)): (blake3(content).hexdigest(), hashlib.sha256(content).hexdigest())
        for path, content in contents
    }


def write(env_file: str, directory: Path) -> None:
    """Let this machine's writers do their part."""
    task = Task.load((directory / TASK).read_text())
    killed = supervise(
        lambda: ProjectStorage.open(settings.load(env_file)),
        task.work,
        task.writers,
        directory / LOGS,
        kills=task.kills,
        seed=task.seed,
    )
    (directory / DONE).write_text(json.dumps({"kills": killed}))


def check(env_file: str) -> dict[str, object]:
    """Check everything that was acknowledged, from all machines."""
    said = json.load(sys.stdin)
    answers = {one["number"]: Acknowledged(**one) for one in said["acknowledged"]}
    return {"gaps": check_writes(studio_of(env_file), Work(**said["work"]), answers)}


def check_project(env_file: str, project_id: str) -> dict[str, object]:
    """Finish what can be finished, then check one project."""
    studio = studio_of(env_file)
    report = studio.storage.recover(project_id=project_id)
    assert report.failed == {}, report
    studio.check(project_id)
    return {"recovered": asdict(report)}


def main(words: list[str]) -> int:
    """Do what the words say."""
    answer: object = None
    match words:
        case ["projects", env_file]:
            answer = make_projects(studio_of(env_file).storage)
        case ["write", env_file, directory]:
            write(env_file, Path(directory))
        case ["check", env_file]:
            answer = check(env_file)
        case ["project", env_file, project_id]:
            answer = check_project(env_file, project_id)
        case ["hash", directory]:
            answer = hashes(Path(directory))
        case _:
            sys.exit(__doc__)
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
