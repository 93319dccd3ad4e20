# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that `models dedupe` predicts, joins and reports, through the playbook that Ansible users run."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.model_server import make_safetensors, serving_models
from tests.support.model_studio import Studio

CONTENT = make_safetensors(1_500_000, "copied")


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    with serving_models() as server:
        studio = Studio(tmp_path, server)
        more = {"studio_models_ollama_account": getpass.getuser(), "studio_models_min_age": 0}
        (studio.path / "group_vars/all/zz.yml").write_text(json.dumps(more))
        for name in ("one", "two"):
            (studio.share / name).write_bytes(CONTENT)
        (tmp_path / "storage/ollama/models/copy").write_bytes(CONTENT)
        yield studio


@pytest.mark.slow
def test_dedupe_predicts_then_joins_and_a_second_run_finds_nothing_to_do(studio: Studio) -> None:
    before = {name: os.stat(studio.share / name).st_ino for name in ("one", "two")}
    predicted, done = studio.models("dedupe", "--check")
    assert predicted["exit_code"] == 0, done
    assert {name: os.stat(studio.share / name).st_ino for name in before} == before
    output, done = studio.models("dedupe")
    assert output["exit_code"] == 0, done
    assert output["duplicates"] == predicted["duplicates"]
    assert [(row["path"], row["state"]) for row in output["duplicates"]] == [("two", "linked"), ("copy", "apart")]
    assert os.stat(studio.share / "two").st_ino == before["one"]
    assert "3.0 MB after; 1.5 MB were saved." in done.stderr
    assert "1.5 MB are there twice" in done.stderr
    assert output["phases"][0]["changed"] == 1
    output, done = studio.models("dedupe", "--no-hard-links")
    assert (output["exit_code"], output["phases"][0]["changed"]) == (0, 0), done
    assert output["bytes_before"] == output["bytes_after"]
