"""Test that a built tree is verified before it becomes root's, after every process of the account has ended."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.install import builds

BUILDER = worker_processes.Account(61240, 61240, (61240,))
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two accounts")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    for path in (tmp_path.parent.parent, tmp_path.parent, tmp_path):
        path.chmod(0o755)
    return tmp_path / "opt"


@pytest.fixture
def build(programs: Path) -> Iterator[builds.Build]:
    with builds.building(str(programs), BUILDER) as made:
        yield made


def shell(build: builds.Build, script: str) -> str:
    return build.run(["sh", "-euc", f"mkdir -p tree/bin; echo x > tree/bin/run; {script}"])[1]


def test_built_tree_becomes_roots_without_special_bits(build: builds.Build, programs: Path) -> None:
    script = "chmod 6777 tree/bin/run; chmod 2777 tree/bin; ln -s bin/run tree/run; ln tree/bin/run kept; id -u"
    assert shell(build, script).strip() == str(BUILDER.uid)
    builds.install_tree(build.transfer_to_root("tree"), str(programs / "program" / "v1"))
    tree = programs / "program" / "v1"
    for path in (tree, *tree.rglob("*")):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (0, 0)
        assert path.is_symlink() or stat.S_IMODE(path.stat().st_mode) == 0o755
    assert (tree / "run").read_text() == "x\n"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("mkfifo tree/pipe", "neither a file"),
        ("ln -s /etc/passwd tree/passwd", "leads out of what was built, to /etc/passwd"),
        ("ln -s ../../../../etc tree/bin/etc", "leads out of what was built"),
        ("rm -r tree; ln -s /etc tree", "leads out of what was built"),
    ],
)
def test_special_files_and_outside_links_are_refused(build: builds.Build, script: str, message: str) -> None:
    shell(build, script)
    with pytest.raises(builds.BuildError, match=message):
        build.transfer_to_root("tree")


def test_hard_link_to_a_file_of_roots_is_refused(build: builds.Build, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    shell(build, "true")
    os.link(
        secret, Path(build.directory, "tree", "secret")
    )  # where the kernel does not forbid it (protected_hardlinks)
    with pytest.raises(builds.BuildError, match="belongs to another account"):
        build.transfer_to_root("tree")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_background_processes_are_killed_before_verification(build: builds.Build) -> None:
    script = "while :; do echo evil > tree/bin/run; ln -sf /etc/passwd tree/late; done"
    who = {"user": BUILDER.uid, "group": BUILDER.gid, "extra_groups": []}
    shell(build, "true")
    late = "(trap '' TERM; exec sh -c \"$1\") & echo started; wait"
    with subprocess.Popen(
        ["sh", "-c", late, "sh", script],
        cwd=build.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **who,  # type: ignore[call-overload]  # as subprocess.run takes them
    ) as running:
        running.stdout.readline()
        builds.kill_processes(BUILDER)
        assert builds._processes_of(BUILDER.uid) == []


def test_build_directory_is_empty_afterwards(programs: Path) -> None:
    with builds.building(str(programs), BUILDER) as build:
        shell(build, "mkdir private; ln -s /etc private/etc; chmod 0 private")
    assert os.listdir(programs / builds.BUILD) == [".lock"]
    assert stat.S_IMODE((programs / builds.BUILD).stat().st_mode) == 0o711
