# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the first commands of CONTRIBUTING.md, from the clone to a failing test, and compare what they print."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: The address in the document, which stands for a copy of this tree here.
ADDRESS = "https://github.com/noslop/noslop"


@dataclass
class Step:
    """A command after `$ ` and the lines that it prints, where `...` stands for any text."""

    command: str
    output: list[str] = field(default_factory=list)

    def is_printed(self, text: str) -> bool:
        """Return whether the lines are printed, in this order; others may stand between them."""
        patterns = [".*".join(re.escape(part) for part in line.split("...")) for line in self.output]
        return re.search(".*".join(patterns), text, re.DOTALL) is not None


def read_steps(document: str) -> list[Step]:
    """Return the commands of the first block of a document that shows a terminal."""
    match = re.search(r"^```console\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    assert match, "CONTRIBUTING.md has no ```console block"
    steps: list[Step] = []
    for line in match[1].splitlines():
        if line.startswith("$ "):
            steps.append(Step(line.removeprefix("$ ")))
        else:
            steps[-1].output.append(line)
    return steps


def copy_tree(target: Path) -> None:
    """Copy the files of this tree, changed ones as they are, into a repository with one commit."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    subprocess.run(["git", "init", "--quiet"], cwd=target, check=True)
    author = ("-c", "user.name=Author", "-c", "user.email=author@example.org", "-c", "commit.gpgsign=false")
    for step in (("add", "--all"), ("commit", "--quiet", "--message", "Copy the tree")):
        subprocess.run(["git", *author, *step], cwd=target, check=True)


@pytest.mark.network
@pytest.mark.slow
def test_newcomer_gets_from_the_clone_to_a_failing_test(tmp_path: Path) -> None:
    steps = read_steps((ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    assert steps[0].command == f"git clone {ADDRESS}"
    assert any(step.command == "make venv" for step in steps)
    copy_tree(tmp_path / "origin")
    hidden = ("MAKE", "VIRTUAL_ENV", "PYTHON", "ANSIBLE_", "PYTEST_", "GIT_", "VENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)} | {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{tmp_path / 'origin'}.insteadOf",
        "GIT_CONFIG_VALUE_0": ADDRESS,
    }
    directory = tmp_path
    for step in steps:
        if step.command.startswith("cd "):
            directory = directory / step.command.removeprefix("cd ")
            continue
        done = subprocess.run(
            ["bash", "-c", step.command],
            cwd=directory, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        fails = any(line.startswith("FAILED") for line in step.output)
        assert (done.returncode != 0) == fails, f"{step.command}\n{done.stdout}"
        assert step.is_printed(done.stdout), f"{step.command} printed:\n{done.stdout}\ninstead of: {step.output}"


def test_steps_are_the_commands_with_their_output() -> None:
    document = "```\n$ make no\n```\n```console\n$ make venv\npip ...\n$ git diff\n```\n"
    assert read_steps(document) == [Step("make venv", ["pip ..."]), Step("git diff")]


@pytest.mark.parametrize(("text", "printed"), [("1 passed in 0.3s\n", True), ("x\n1 passed in 9s", True), ("", False)])
def test_three_dots_stand_for_any_text(text: str, printed: bool) -> None:
    assert Step("pytest", ["1 passed in ...s"]).is_printed(text) is printed
