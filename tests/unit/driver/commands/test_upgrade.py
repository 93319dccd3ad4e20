# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what `upgrade` refuses before it changes anything, and where it writes the version that it chose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from noslop_driver.cli.main import main
from noslop_driver.commands.upgrade import parse_versions
from noslop_driver.errors import UsageError
from noslop_driver.inventory.directory import STUDIO, StudioDirectory
from noslop_driver.models import StudioSettings
from tests.support.plays import local_inventory


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ([], {}),
        (["comfyui=0.33.0"], {"noslop_comfyui_version": "v0.33.0"}),
        (
            ["comfyui=v0.3.64", "ollama=v0.32.7"],
            {"noslop_comfyui_version": "v0.3.64", "noslop_ollama_version": "0.32.7"},
        ),
    ],
)
def test_versions_are_read_as_users_write_them(values: list[str], chosen: dict[str, str]) -> None:
    assert parse_versions(values) == chosen


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0.33.0", "write comfyui=VERSION or ollama=VERSION"),
        ("backend=1", "write comfyui=VERSION or ollama=VERSION"),
        ("comfyui=", "name the version"),
        ("comfyui=master", "'master' is no version of ComfyUI"),
    ],
)
def test_version_that_is_none_is_refused(value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_versions([value])


def run_upgrade(studio: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["upgrade", "--inventory", str(studio), "--no-input", *words])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def make_studio(directory: Path, **variables: object) -> Path:
    """Make an inventory of this computer, which runs Ollama and ComfyUI in a studio that is not deployed."""
    path = local_inventory(directory / "inventory", ["one"])
    hosts = {"hosts": {"one": {}}, "vars": {"noslop_studio_id": "test", **variables}}
    (path / "services.yml").write_text(yaml.safe_dump({"comfyui": hosts, "ollama": {"hosts": {"one": {}}}}))
    return path


def test_choice_that_a_variable_of_the_role_overrides_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studio = make_studio(tmp_path, comfyui_revision="v0.3.64")
    code, output = run_upgrade(studio, capsys, "--to", "comfyui=0.33.0", "--yes")
    assert code == 2
    assert "The inventory gives one the ComfyUI v0.3.64 by comfyui_revision or comfyui_version" in output


def test_versions_are_shown_before_the_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, output = run_upgrade(make_studio(tmp_path), capsys, "--to", "ollama=0.32.15")
    assert code == 2, output
    rows = [line.split() for line in output.splitlines()]
    assert ["one", "Ollama", "nothing", "0.32.15"] in rows
    assert any(row[:3] == ["one", "ComfyUI", "nothing"] for row in rows)
    assert "Upgrade these services?" in output


def test_choice_is_written_where_the_next_deployment_reads_it(tmp_path: Path) -> None:
    studio = StudioDirectory(tmp_path / "studio")
    studio.make_state_dir()
    settings = StudioSettings(studio_id="2f1c4d4e-6f0a-4b57-9d35-3c1b6a0f7e55")
    assert studio.write_settings(settings).files == [STUDIO]
    changed = StudioSettings.model_validate({**studio.read_settings(), "comfyui_version": "v0.33.0"})
    assert studio.write_settings(changed).files == [STUDIO]
    assert studio.read_settings()["comfyui_version"] == "v0.33.0"
    (studio.path / STUDIO).write_text("noslop_studio_id: edited\n")
    assert studio.write_settings(changed).kept == [STUDIO]
    assert json.loads((studio.state_dir / "written.json").read_text())


@pytest.mark.long
def test_command_to_continue_names_versions_and_hosts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--to", "ollama=0.32.15", "--host", "one"]
    code, output = run_upgrade(make_studio(tmp_path), capsys, *words, "--check", "--yes")
    assert code != 0, "the studio is not deployed"
    assert f"noslop-driver upgrade {' '.join(words)} --inventory" in " ".join(output.split())
