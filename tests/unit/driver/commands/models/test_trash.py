# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a removed model comes back with its entry, and that what is unused goes when the user says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from noslop_driver.inventory.directory import STUDIO
from tests.support.model_server import serving_models
from tests.support.model_studio import CONTENTS, Studio


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    with serving_models() as server:
        studio = Studio(tmp_path, server)
        (studio.share / "loras").mkdir()
        for name, content in CONTENTS.items():
            (studio.share / f"loras/{name}.safetensors").write_bytes(content)
        yield studio


@pytest.mark.slow
@pytest.mark.long
def test_removed_model_comes_back_with_its_entry(studio: Studio) -> None:
    text = f"# mine\n{(studio.path / STUDIO).read_text(encoding='utf-8')}# the end\n"
    (studio.path / STUDIO).write_text(text, encoding="utf-8")
    output, done = studio.models("remove", "one.safetensors", "--no-input")
    assert output["exit_code"] == 2
    assert "--yes" in done.stderr
    assert (studio.share / "loras/one.safetensors").exists()
    output, done = studio.models("remove", "one.safetensors", "--yes")
    assert output["exit_code"] == 0, done
    assert [(row["path"], row["state"]) for row in output["models"]] == [("loras/one.safetensors", "trashed")]
    assert "noslop-driver models restore loras/one.safetensors" in done.stderr
    assert not (studio.share / "loras/one.safetensors").exists()
    listed, _ = studio.models("list")
    assert [row["name"] for row in listed["models"]] == ["loras/two.safetensors"]
    output, done = studio.models("restore")
    assert [(row["path"], row["state"]) for row in output["models"]] == [("loras/one.safetensors", "in_trash")]
    output, done = studio.models("restore", "one.safetensors", "three.safetensors")
    assert output["exit_code"] == 1
    assert "Not in the trash: three.safetensors" in done.stderr
    assert (studio.share / "loras/one.safetensors").read_bytes() == CONTENTS["one"]
    listed, _ = studio.models("list")
    assert sorted(row["name"] for row in listed["models"]) == ["loras/one.safetensors", "loras/two.safetensors"]
    written = (studio.path / STUDIO).read_text(encoding="utf-8")
    assert (written.startswith("# mine\n"), "# the end" in written) == (True, True)


@pytest.mark.slow
@pytest.mark.long
def test_unused_models_are_shown_and_collected_when_the_user_says_so(studio: Studio) -> None:
    unused = studio.share / "loras/unused.safetensors"
    unused.write_bytes(CONTENTS["one"])
    (studio.path / "group_vars/all/test.yml").write_text("studio_models_unused_hours: 0\n", encoding="utf-8")
    expected = [("loras/unused.safetensors", "trashed")]
    output, done = studio.models("gc")
    assert (output["exit_code"], [(row["path"], row["state"]) for row in output["models"]]) == (0, expected), done
    assert "'noslop-driver models gc --apply' does it" in done.stderr
    assert unused.exists()
    output, done = studio.models("gc", "--apply", "--yes")
    assert (output["exit_code"], [(row["path"], row["state"]) for row in output["models"]]) == (0, expected), done
    assert sorted(path.name for path in studio.share.glob("loras/*")) == ["one.safetensors", "two.safetensors"]
    output, done = studio.models("gc", "--trash-days", "0")
    assert [(row["path"], row["state"]) for row in output["models"]] == [("loras/unused.safetensors", "removed")]
    assert (output["exit_code"], "remove for good" in done.stderr) == (0, True)
