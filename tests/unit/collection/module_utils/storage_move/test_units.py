# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which units of the studio are stopped and started again, with a systemctl that logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.module_runner import run_module

SYSTEMCTL = r"""#!/bin/sh
case "$1" in
    list-units) cat {directory}/running ;;
    *) echo "$*" >> {directory}/log ;;
esac
"""


class Host:
    """A host with units, as the module sees it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.run_directory = directory / "run"
        program = directory / "systemctl"
        program.write_text(SYSTEMCTL.replace("{directory}", str(directory)))
        program.chmod(0o755)
        self.set_running("noslop-firewall.service", "noslop-comfyui.service", "noslop-check.timer")

    def set_running(self, *names: str) -> None:
        lines = [f"{name} loaded active running A unit\n" for name in names]
        (self.directory / "running").write_text("".join(lines))

    def do(self, state: str) -> dict[str, object]:
        answer = run_module("storage_move", {"state": state, "run_directory": str(self.run_directory)})
        assert not answer.get("failed"), answer
        return answer


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return Host(tmp_path)


def test_running_units_are_stopped_but_for_the_firewall(host: Host) -> None:
    assert host.do("units_recorded")["units"] == ["noslop-check.timer", "noslop-comfyui.service"]
    host.do("units_stopped")
    assert (host.directory / "log").read_text() == "stop -- noslop-check.timer noslop-comfyui.service\n"


def test_second_run_keeps_what_an_interrupted_one_recorded(host: Host) -> None:
    host.do("units_recorded")
    host.set_running("noslop-firewall.service", "noslop-ollama.service")
    assert host.do("units_recorded")["units"] == [
        "noslop-check.timer",
        "noslop-comfyui.service",
        "noslop-ollama.service",
    ]


def test_nothing_is_started_without_a_record(host: Host) -> None:
    assert host.do("units_started")["changed"] is False
    assert not (host.directory / "log").exists()
