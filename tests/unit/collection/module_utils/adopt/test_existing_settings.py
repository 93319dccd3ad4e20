# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that settings of units and users are read as systemd applies them, and never as root where others can write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.adopt import existing_settings

from tests.support.module_runner import run_module

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="files of another account are made")
OTHER = 65534


def show(**properties: str | list[str]) -> Any:  # noqa: ANN401  # a function that stands for systemctl
    """Return a function that answers as `systemctl show` does."""
    lines = [
        f"{name}={value}"
        for name, values in {"LoadState": "loaded", "User": "", **properties}.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    return lambda _: (0, "\n".join(lines) + "\n", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OLLAMA_MODELS=/data/models PATH=/bin:/usr/bin", {"OLLAMA_MODELS": "/data/models", "PATH": "/bin:/usr/bin"}),
        ('"OLLAMA_MODELS=/big disk/models" A=', {"OLLAMA_MODELS": "/big disk/models", "A": ""}),
        (r'"A=quote \" dollar \$ tick \` back \\"', {"A": 'quote " dollar $ tick ` back \\'}),
        ("", {}),
        ("no-name=1 lonely", {}),
        ('A="open', {"A": '"open'}),
    ],
)
def test_environment_of_a_unit(text: str, expected: dict[str, str]) -> None:
    assert existing_settings.split_environment(text) == expected


def test_environment_file_is_read_as_systemd_reads_it() -> None:
    text = "# OLLAMA_A=0\n; B=0\n\nOLLAMA_A=1\n  C = two words \nD='a b'\"c\"\nE=long\\\nline\nF=\nnot a line\n"

    expected = {"OLLAMA_A": "1", "C": "two words", "D": "a bc", "E": "long line", "F": ""}
    assert existing_settings.parse_environment_file(text) == expected


def test_environment_files_win_over_the_unit(tmp_path: Path) -> None:
    for number, text in enumerate(("OLLAMA_MODELS=/first\nHF_TOKEN=a", "OLLAMA_MODELS=/second\n"), 1):
        (tmp_path / f"{number}.conf").write_text(text)
    answer = show(
        FragmentPath="/etc/systemd/system/ollama.service",
        DropInPaths="/etc/systemd/system/ollama.service.d/a.conf",
        User="root",
        Environment="OLLAMA_MODELS=/unit OLLAMA_DEBUG=1",
        EnvironmentFiles=[f"{tmp_path}/[12].conf (ignore_errors=yes)", "/no/such/file (ignore_errors=no)"],
    )

    unit = existing_settings.read_unit(answer, "ollama.service")

    assert unit is not None
    assert unit.environment == {"OLLAMA_MODELS": "/second", "OLLAMA_DEBUG": "1", "HF_TOKEN": "a"}
    assert unit.sources[:2] == ["/etc/systemd/system/ollama.service", "/etc/systemd/system/ollama.service.d/a.conf"]
    assert unit.sources[2:] == [f"{tmp_path}/1.conf", f"{tmp_path}/2.conf"]
    assert (unit.home, unit.unread) == ("/root", [])


def test_unit_that_does_not_exist_has_no_settings() -> None:
    assert existing_settings.read_unit(show(LoadState="not-found"), "ollama.service") is None
    assert existing_settings.read_unit(lambda _: (127, "", "no systemctl"), "ollama.service") is None


@root_only
def test_environment_file_that_another_account_can_change_is_named_and_not_read(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name in ("theirs", "open", "directory/file"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("OLLAMA_MODELS=/etc\n")
    os.chown(tmp_path / "theirs", OTHER, OTHER)
    (tmp_path / "open").chmod(0o666)
    os.chown(tmp_path / "directory", OTHER, OTHER)
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    names = ("theirs", "open", "directory/file", "link")

    files = [f"{tmp_path}/{name}" for name in names]

    unit = existing_settings.read_unit(show(EnvironmentFiles=files), "ollama.service")

    assert unit is not None
    assert unit.environment == {}
    assert unit.unread == [f"{path}: an account other than root can change it" for path in files]


@root_only
def test_file_of_a_user_is_read_as_that_user(tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, OTHER, OTHER)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    (home / "own").write_text("a: b\n")
    (home / "link").symlink_to(secret)
    os.mkfifo(home / "pipe")

    answer = run_module("existing_settings", {"files": [f"{home}/{name}" for name in ("own", "link", "pipe", "none")]})

    own, link, pipe = answer["files"]
    assert own == {"path": f"{home}/own", "text": "a: b\n", "problem": ""}
    assert (link["text"], "Permission denied" in link["problem"]) == ("", True)
    assert (pipe["text"], "is no regular file" in pipe["problem"]) == ("", True)


def test_values_are_returned_for_the_revealed_names_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\nprintf 'LoadState=loaded\\nEnvironment=OLLAMA_DEBUG=1 HF_TOKEN=hf_secret\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    answer = run_module("existing_settings", {"units": ["ollama.service"], "reveal": ["OLLAMA_DEBUG"]})

    (unit,) = answer["units"]
    assert (unit["environment"], unit["hidden"]) == ({"OLLAMA_DEBUG": "1"}, ["HF_TOKEN"])
    assert "hf_secret" not in str(answer)
