# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that shells complete commands, flags and the names of a studio, and run no Ansible for it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.driver_cli import ROOT, run, run_json

HOSTS = """\
all:
  hosts: {server: {ansible_password: !vault x}, worker1: , "two words": , worker2: {}}
  children: {comfyui: {hosts: {worker1: , extra: }}}
"""
SETTINGS = """\
noslop_models:
  - {url: "https://example.com/one.safetensors", folder: loras}
  - {ollama: "qwen3:8b"}
  - nonsense
noslop_custom_nodes:
  - {name: Impact, repo: https://example.com/impact.git}
"""
PROGRAM = "import sys; from noslop_driver.cli.main import main; sys.exit(main())"


@pytest.fixture(autouse=True)
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a studio in the current directory, which the driver made."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "inventories/home"
    (path / "group_vars/all").mkdir(parents=True)
    (path / ".noslop").mkdir()
    (path / ".noslop/written.json").write_text("{}", encoding="utf-8")
    (path / "hosts.yml").write_text(HOSTS, encoding="utf-8")
    (path / "group_vars/all/studio.yml").write_text(SETTINGS, encoding="utf-8")
    return path


def complete(line: str, shell: str = "fish") -> list[str]:
    """Return what the driver answers a shell whose line ends there, without any other program in PATH."""
    words = shlex.split(line)
    if line.endswith(" "):
        words.append("")
    environment = {
        "PATH": "/nowhere",
        "PYTHONPATH": f"{ROOT}:{ROOT}/collections",
        "_NOSLOP_DRIVER_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": shlex.join(words[:-1]) if shell == "fish" else shlex.join(words),
        "COMP_CWORD": words[-1] if shell == "fish" else str(len(words) - 1),
    }
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    return lines[1::3] if shell == "zsh" else [one.partition(",")[2].partition("\t")[0] for one in lines if one]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("noslop-driver st", ["status"]),
        ("noslop-driver status --ca", ["--cached"]),
        ("noslop-driver status --studio ", ["home"]),
        ("noslop-driver env ", ["extra", "server", "worker1", "worker2"]),
        ("noslop-driver host remove wor", ["worker1", "worker2"]),
        ("noslop-driver verify --limit s", ["server"]),
        ("noslop-driver open ", ["extra", "server", "worker1", "worker2", "comfyui", "ollama", "backend"]),
        ("noslop-driver open worker1 ", ["extra", "server", "worker2", "comfyui", "ollama", "backend"]),
        ("noslop-driver models pull ", ["loras/one.safetensors", "qwen3:8b"]),
        ("noslop-driver models pull qwen3:8b ", ["loras/one.safetensors"]),
        ("noslop-driver nodes remove ", ["Impact"]),
        ("noslop-driver nodes add X --host w", ["worker1", "worker2"]),
        ("noslop-driver completion ", ["bash", "zsh", "fish"]),
        ("noslop-driver env --studio other ", []),
        ("noslop-driver env --inventory /nowhere ", []),
    ],
)
def test_names_are_completed_from_files(line: str, names: list[str]) -> None:
    assert complete(line) == names


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_the_same_names(shell: str) -> None:
    assert complete("noslop-driver env worker", shell) == ["worker1", "worker2"]


@pytest.mark.parametrize("text", ["[", "hosts: 7\n", "all: {hosts: [a]}\n", "\x00"])
def test_inventory_that_cannot_be_read_has_no_names(studio: Path, text: str) -> None:
    (studio / "hosts.yml").write_text(text, encoding="utf-8")
    (studio / "group_vars/all/studio.yml").write_text(text, encoding="utf-8")
    assert complete("noslop-driver env ") == []
    assert complete("noslop-driver models pull ") == []


def test_bash_completes_with_the_printed_script(tmp_path: Path) -> None:
    program = tmp_path / "noslop-driver"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c {shlex.quote(PROGRAM)} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    script = run("completion", "bash").stdout
    script += (
        "COMP_WORDS=(noslop-driver env wor) COMP_CWORD=2\n_noslop_driver_completion noslop-driver wor env\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}:{ROOT}/collections"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["worker1", "worker2"]


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "complete -o nosort -F _noslop_driver_completion noslop-driver"),
        ("zsh", "#compdef noslop-driver"),
        ("fish", "complete --no-files --command noslop-driver"),
    ],
)
def test_script_is_printed_alone(shell: str, line: str) -> None:
    done = run("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert line in done.stdout
    assert run_json("completion", shell)[0]["script"].strip() == done.stdout.strip()
    assert f"noslop-driver completion {shell} > " in run("completion", "--help").stdout
