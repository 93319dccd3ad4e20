# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the role existing_storage with hosts that share one directory, each by its own mount, and hosts that do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[4]
HOSTS = ("server", "worker1", "worker2")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount, and act as other accounts"),
    pytest.mark.slow,
]


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a directory that may contain shares, unlike /tmp."""
    with tempfile.TemporaryDirectory(prefix="noslop-test-", dir="/srv") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def mounts(place: Path) -> Iterator[dict[str, Path]]:
    """Mount one directory for each host."""
    (place / "data").mkdir()
    points = {host: place / host for host in HOSTS}
    for point in points.values():
        point.mkdir()
        subprocess.run(["mount", "--bind", place / "data", point], check=True)
    yield points
    for point in points.values():
        subprocess.run(["umount", point], check=True)


def play(directory: Path, roots: dict[str, Path], *words: str) -> tuple[int, str, list[dict[str, Any]]]:
    """Run the role on hosts that are all this computer. Return exit code, output, and the checks of its report."""
    result = directory / "report.json"
    result.unlink(missing_ok=True)
    tasks = [
        {"ansible.builtin.import_role": {"name": "noslop.studio.existing_storage"}},
        {
            "ansible.builtin.debug": {"msg": "marked"},
            "run_once": True,
        },
    ]
    block = {
        "block": tasks,
        "always": [
            {
                "ansible.builtin.copy": {
                    "content": "{{ existing_storage_report.noslop_report.checks | default([]) | to_json }}",
                    "dest": str(result),
                },
                "run_once": True,
                "check_mode": False,
                "changed_when": False,
            }
        ],
    }
    variables = {"existing_storage_writer": HOSTS[0], "noslop_studio_id": "atelier", "noslop_min_free_gb": 0}
    content = [{"name": "A play", "hosts": "all", "gather_facts": False, "vars": variables, "tasks": [block]}]
    (directory / "play.yml").write_text(json.dumps(content), encoding="utf-8")
    hosts = {
        host: {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "noslop_storage_root": str(root),
        }
        for host, root in roots.items()
    }
    (directory / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "-i", str(directory / "hosts.yml"), str(directory / "play.yml"), *words]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environment)
    checks = json.loads(result.read_text(encoding="utf-8")) if result.exists() else []
    return done.returncode, done.stdout + done.stderr, checks


@pytest.mark.long
def test_hosts_that_share_a_directory_are_proven_and_the_second_run_changes_nothing(
    tmp_path: Path, place: Path, mounts: dict[str, Path]
) -> None:
    code, output, checks = play(tmp_path, mounts)

    assert code == 0, output
    assert [check for check in checks if not check["ok"]] == []
    assert {check["host"] for check in checks if check["check"] == "probe.content"} == set(HOSTS)
    assert {check["host"] for check in checks if check["check"] == "probe.speed"} == set(HOSTS)
    assert "Storage of studio atelier" in output
    assert json.loads((place / "data/projects/.noslop-share").read_text())["studio_id"] == "atelier"
    assert sorted(path.name for path in (place / "data/projects").iterdir()) == [".noslop-share"]

    code, output, checks = play(tmp_path, mounts)

    assert code == 0, output
    assert output.count("changed=0") == len(HOSTS)


@pytest.mark.long
def test_hosts_with_different_directories_are_refused_and_nothing_is_marked(
    tmp_path: Path, place: Path, mounts: dict[str, Path]
) -> None:
    subprocess.run(["umount", mounts["worker2"]], check=True)
    (place / "other").mkdir()
    subprocess.run(["mount", "--bind", place / "other", mounts["worker2"]], check=True)

    code, output, checks = play(tmp_path, mounts)

    assert code != 0
    failed = {(check["host"], check["check"]) for check in checks if not check["ok"]}
    assert ("worker2", "probe.answered") in failed
    assert "The shares were not marked" in output
    assert not (place / "data/projects/.noslop-share").exists()
    assert list((place / "other").iterdir()) == []


def test_check_mode_measures_nothing_and_says_so(tmp_path: Path, place: Path, mounts: dict[str, Path]) -> None:
    code, output, checks = play(tmp_path, mounts, "--check")

    assert code == 0, output
    assert [check["check"] for check in checks] == ["probe.measured"]
    assert "in check mode nothing is written" in output
    assert list((place / "data").iterdir()) == []


def test_root_without_a_mount_is_refused_with_the_step(tmp_path: Path, place: Path) -> None:
    roots = {host: place / host for host in HOSTS}

    code, output, __ = play(tmp_path, roots)

    assert code != 0
    assert "Mount your file system so" in output
    assert list(place.iterdir()) == []
