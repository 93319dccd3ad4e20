# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the first commands of CONTRIBUTING.md on a bare host, from the clone to a failing test."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.local.conftest import TIMEOUT_S, copy_file
from tests.support.console_steps import Step, read_steps
from tests.support.lab.machines import ROOT, Machine

#: The address in the document, which stands for a copy of this tree on the host.
ADDRESS = "https://github.com/noslop/noslop"
BUNDLE = "origin.bundle"


def bundle_tree(directory: Path) -> Path:
    """Write a Git bundle of one commit that holds the files of this tree, changed ones as they are."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    files = "\0".join(name for name in names if name and (ROOT / name).is_file())
    copy = directory / "tree"
    copy.mkdir()
    packed = subprocess.run(
        ["tar", "--create", "--null", "--files-from=-"], cwd=ROOT, input=files.encode(), capture_output=True, check=True
    )
    subprocess.run(["tar", "--extract"], cwd=copy, input=packed.stdout, check=True)
    author = ("-c", "user.name=Author", "-c", "user.email=author@example.org", "-c", "commit.gpgsign=false")
    for words in (
        ("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "Copy the tree"),
        ("bundle", "create", "--quiet", str(directory / BUNDLE), "HEAD", "--all"),
    ):  # fmt: skip
        subprocess.run(["git", *author, *words], cwd=copy, check=True)
    return directory / BUNDLE


def run_step(host: Machine, directory: str, step: Step) -> None:
    """Run a command of the document, and compare what it prints. It fails only where the document shows a failure."""
    done = host.run(f"cd {directory} && ( {step.command} ) 2>&1 </dev/null", timeout_s=TIMEOUT_S)
    fails = any(line.startswith("FAILED") for line in step.output)
    assert (done.returncode != 0) == fails, f"{step.command}\n{done.stdout}{done.stderr}"
    assert step.is_printed(done.stdout), f"{step.command} printed:\n{done.stdout}\ninstead of: {step.output}"


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.long
def test_newcomer_gets_from_the_clone_to_a_failing_test(bare_host: Machine, tmp_path: Path) -> None:
    """Work as an ordinary user of a host that has git, make and Python, as the document asks."""
    steps = read_steps((ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    assert steps[0].command == f"git clone {ADDRESS}"
    assert any(step.command == "make venv" for step in steps)
    bare_host.check_output("apt-get update -q && apt-get install -qy git make", root=True, timeout_s=TIMEOUT_S)
    copy_file(bare_host, bundle_tree(tmp_path), BUNDLE)
    bare_host.check_output(f'git config --global "url.$HOME/{BUNDLE}.insteadOf" {ADDRESS}')
    directory = "~"
    for step in steps:
        if step.command.startswith("cd "):
            directory += "/" + step.command.removeprefix("cd ")
        else:
            run_step(bare_host, directory, step)
