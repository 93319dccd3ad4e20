# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what the commands of `models` show and refuse, and that `pull` brings models to the share of a host."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.models import progress

from noslop_driver.errors import ExitCode
from noslop_driver.inventory.directory import STUDIO
from tests.support.driver_cli import run, run_json
from tests.support.lab.machines import wait_for
from tests.support.model_server import make_safetensors, serving_models
from tests.support.model_studio import CONTENTS, Studio
from tests.support.output_schema import check_output, check_progress
from tests.support.page_cache import evict
from tests.unit.conftest import StartSshd


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    with serving_models() as server:
        for name, content in CONTENTS.items():
            server.add(name, content)
        yield Studio(tmp_path, server)


@pytest.mark.slow
def test_pull_fetches_what_it_can_and_later_the_one_that_failed(studio: Studio) -> None:
    studio.server.files["one"].contents[0] = b"<html>Please log in</html>"
    output, done = studio.models("pull")
    assert output["exit_code"] == 1
    assert "is a web page, as of a login" in done.stderr
    assert "1 model fetched" in done.stderr
    assert [row["state"] for row in output["models"]] == ["failed", "fetched"]
    studio.server.files["one"].contents[0] = CONTENTS["one"]
    output, done = studio.models("pull", "one.safetensors")
    assert output["exit_code"] == 0, done
    assert [(row["path"], row["state"]) for row in output["models"]] == [("loras/one.safetensors", "fetched")]
    for name, content in CONTENTS.items():
        assert (studio.share / "loras" / f"{name}.safetensors").read_bytes() == content
    listed, done = studio.models("list")
    digests = [hashlib.sha256(content).hexdigest() for content in CONTENTS.values()]
    assert [(row["sha256"], row["sha256_is_recorded"], row["fetched"]) for row in listed["models"]] == [
        (digest, True, True) for digest in digests
    ]
    assert f"{digests[0][:12]} (recorded)" in done.stderr


@pytest.mark.slow
@pytest.mark.long
def test_runs_add_up_and_status_shows_the_sums(studio: Studio) -> None:
    studio.server.files["one"].contents[0] = b"<html>Please log in</html>"
    studio.models("pull")
    shown, done = run_json("status", "--cached", "--inventory", str(studio.path))
    models = shown["models"]
    size = len(CONTENTS["two"])
    assert [models[key] for key in ("catalogue", "on_share", "size", "fetched_bytes", "saved_bytes", "failed")] == [
        *(2, 1, size, size, 0, 1)
    ]
    assert "models: 1 of 2 are on the share (50." in done.stderr
    assert "0 bytes not fetched again, 1 failed" in done.stderr
    studio.server.files["one"].contents[0] = CONTENTS["one"]
    studio.models("pull")
    studio.models("verify", "two.safetensors")
    models = run_json("status", "--cached", "--inventory", str(studio.path))[0]["models"]
    assert [models[key] for key in ("on_share", "fetched_bytes", "failed", "verified")] == [2, 2 * size, 1, 1]
    assert models["since"] <= models["verified_since"]


@pytest.mark.slow
@pytest.mark.long
def test_warm_models_are_read_into_memory_and_shown(studio: Studio) -> None:
    studio.models("pull")
    output, done = studio.models("warm")
    assert output["exit_code"] == 2
    assert "No model of the catalogue is to be in the memory of a host. Write warm: true" in done.stderr
    studio.save(*CONTENTS, warm=True)
    for name in CONTENTS:
        evict(studio.share / f"loras/{name}.safetensors")
    listed, done = studio.models("list")
    assert [(row["warm_hosts"], row["warm_on"]) for row in listed["models"]] == [(["here"], [])] * 2
    output, done = studio.models("warm", "one.safetensors")
    size = len(CONTENTS["one"])
    assert [(row["host"], row["path"], row["state"], row["read"]) for row in output["warm"]] == [
        ("here", "loras/one.safetensors", "warm", size)
    ], done
    output, done = studio.models("warm")
    assert [(row["path"], row["read"]) for row in output["warm"]] == [
        ("loras/one.safetensors", 0),
        ("loras/two.safetensors", size),
    ]
    assert "loras/two.safetensors on here: warm: 50." in done.stderr
    listed, done = studio.models("list")
    assert [row["warm_on"] for row in listed["models"]] == [["here"], ["here"]]
    assert "1 of 1 hosts" in done.stderr
    shown = run_json("status", "--cached", "--inventory", str(studio.path))[0]["models"]["warm"]
    assert [row["resident"] for row in shown] == [size, size]


def test_names_and_entries_that_are_wrong_are_usage_errors(studio: Studio) -> None:
    output, done = studio.models("pull", "three")
    assert (output["exit_code"], studio.server.requests) == (2, [])
    assert "three is not in the catalogue. In it: loras/one.safetensors, loras/two.safetensors." in done.stderr
    studio.save("one", warm=["gone"])
    output, done = studio.models("list")
    assert output["exit_code"] == 2
    assert "loras/one.safetensors is warm on gone, which is not in the group comfyui" in done.stderr
    studio.save()
    output, done = studio.models("pull")
    assert output["exit_code"] == 2
    assert "The catalogue has no models. Write them into noslop_models" in done.stderr
    done = run("models", "list", "--inventory", str(studio.path))
    assert "The catalogue has no models" in done.stdout


@pytest.mark.long
def test_catalogue_changes_and_comments_of_a_person_stay(studio: Studio) -> None:
    path = studio.path / STUDIO
    added, done = studio.models("add", "ollama:llama3.2:1b", "--no-run", "--yes")
    assert (added["exit_code"], [row["name"] for row in added["models"]][2:]) == (0, ["llama3.2:1b"]), done
    assert not studio.is_edited(STUDIO)
    text = f"# mine\n{path.read_text(encoding='utf-8')}# the end\n"
    path.write_text(text, encoding="utf-8")
    added, done = studio.models("add", "ollama:qwen3:0.6b", "--no-run", "--yes")
    assert added["exit_code"] == 0, done
    others = [line for line in text.splitlines() if not line.startswith("noslop_models: ")]
    assert [line for line in path.read_text(encoding="utf-8").splitlines() if line in others] == others
    removed, done = studio.models("remove", "one.safetensors", "--keep-file", "--yes")
    names = ["loras/two.safetensors", "llama3.2:1b", "qwen3:0.6b"]
    assert (removed["exit_code"], [row["name"] for row in removed["models"]]) == (0, names), done
    assert "Its file stays on the share." in done.stderr
    written = path.read_text(encoding="utf-8")
    assert (written.startswith("# mine\n"), written.endswith("# the end\n")) == (True, True)


@pytest.mark.slow
@pytest.mark.long
def test_progress_comes_as_lines_of_json_before_the_result(studio: Studio) -> None:
    content = make_safetensors(2_000_000, "large")
    studio.server.add("large", content)
    studio.save("large")
    (studio.path / "group_vars/all/zz.yml").write_text("noslop_models_rate_mb: 0.25\n", encoding="utf-8")
    done = run("models", "pull", "--inventory", str(studio.path), "--json-lines")
    assert done.returncode == 0, done
    *progress, result = map(json.loads, done.stdout.splitlines())
    check_output(["models", "pull"], result)
    assert [row["state"] for row in result["models"]] == ["fetched"]
    for line in progress:
        check_progress(line)
    rows = [line["progress"][0] for line in progress]
    assert {row["path"] for row in rows} == {"loras/large.safetensors"}
    assert any(0 < row["received"] < row["size"] == len(content) for row in rows)


@pytest.mark.slow
@pytest.mark.long
def test_bench_shows_how_long_each_host_reads_a_model(studio: Studio) -> None:
    studio.models("pull")
    output, done = studio.models("bench", "one.safetensors")
    assert output["exit_code"] == 0, done
    (row,) = output["times"]
    assert (row["host"], row["path"], row["size"]) == ("here", "loras/one.safetensors", len(CONTENTS["one"]))
    assert row["cold_s"] > 0
    assert row["warm_s"] > 0
    assert "without memory" in done.stderr


@pytest.mark.slow
@pytest.mark.long
def test_new_model_is_shown_with_the_room_for_it_and_its_copies(studio: Studio) -> None:
    studio.models("pull")
    digest = hashlib.sha256(CONTENTS["one"]).hexdigest()
    words = ("--folder", "checkpoints", "--file", "again.safetensors", "--sha256", digest, "--yes")
    output, done = studio.models("add", studio.server.url("one"), *words)
    assert output["exit_code"] == 0, done
    assert "Free on the share: " in done.stderr
    assert "The share has the same content already: loras/one.safetensors" in done.stderr
    assert (studio.share / "checkpoints/again.safetensors").read_bytes() == CONTENTS["one"]


def test_change_that_cannot_be_made_changes_nothing(studio: Studio) -> None:
    path = studio.path / STUDIO
    before = path.read_bytes()
    for words, message in (
        (("add", "ollama:a b"), "is no name of a model"),
        (("add", "painter"), "no source of a model"),
        (("remove", "three"), "three is not in the catalogue. In it: loras/one.safetensors, loras/two.safetensors."),
    ):
        output, done = studio.models(*words, "--yes")
        assert output["exit_code"] == 2
        assert message in done.stderr
    (studio.path / "group_vars/all/zz.yml").write_text("noslop_models: []\n", encoding="utf-8")
    output, done = studio.models("add", "ollama:llama3.2:1b", "--yes")
    assert "here has another noslop_models than" in done.stderr
    assert path.read_bytes() == before


@pytest.mark.slow
@pytest.mark.long
def test_interrupt_ends_the_download_and_the_next_run_goes_on(tmp_path: Path, sshd_server: StartSshd) -> None:
    with serving_models() as server:
        content = make_safetensors(2_000_000, "large")
        gate = server.add("large", content).gate = threading.Event()
        studio = Studio(tmp_path, server, sshd_server())
        studio.save("large")
        driver = subprocess.Popen(
            [sys.executable, "-m", "noslop_driver.cli.main", "models", "pull", "--inventory", str(studio.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        run_directory = str(tmp_path / "run")
        try:
            wait_for("the download", lambda: server.sent.get("large", 0) >= 900_000, timeout_s=120)
            wait_for("its follower", (studio.state_dir / "models-progress.json").exists, timeout_s=120)
            driver.send_signal(signal.SIGINT)
            output, _ = driver.communicate(timeout=300)
            assert driver.returncode == ExitCode.INTERRUPTED, output
            assert "the next 'noslop-driver models pull' goes on from there" in output
            wait_for("its end", lambda: progress.read_holder(run_directory) is None, timeout_s=60)
        finally:
            gate.set()
        sent = server.sent["large"]
        result, done = studio.models("pull")
        assert [row["state"] for row in result["models"]] == ["fetched"], done
        assert server.sent["large"] - sent < len(content) - 500_000
        assert (studio.share / "loras/large.safetensors").read_bytes() == content
