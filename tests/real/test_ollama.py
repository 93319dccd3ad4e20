# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the real Ollama on two machines that share one directory of models over NFS.

Run by `make test-real-ollama OLLAMA_ARCHIVE=...` on the bare machines of the lab, on CPUs. OLLAMA_ARCHIVE is the path
of a release's ollama-linux-amd64.tar.zst. The registry that models are pulled from is a stand-in.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.real.conftest import serving_directory
from tests.real.plain_studio import VARIABLES, WORKERS, PlainStudio, write_inventory
from tests.support.lab.driver import count_changes_by_host
from tests.support.lab.machines import CONTROLLER, Machine, list_machines, parse_checksums, wait_for
from tests.support.lab.model_registry import Registry, make_content, serving_models
from tests.support.lab.tiny_gguf import make_model

pytestmark = pytest.mark.real

MODELS = "/mnt/noslop/ollama/models"
API = "http://127.0.0.1:11434"
#: A second name of the controller, which the machines' /etc/hosts gets.
BLOB_HOST = "blobs.lab"
RESTARTS = 20


@pytest.fixture(scope="module")
def archive() -> Path:
    """Return OLLAMA_ARCHIVE. End the run without it, because then there is nothing to test."""
    path = os.environ.get("OLLAMA_ARCHIVE", "")
    if not path:
        pytest.exit("Say which Ollama: make test-real-ollama OLLAMA_ARCHIVE=<path of ollama-linux-amd64.tar.zst>", 2)
    return Path(path).resolve()


@pytest.fixture(scope="module")
def version(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the version of the archive, as its program tells it."""
    directory = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["tar", "--zstd", "-x", "-C", str(directory), "-f", str(archive)], check=True)
    done = subprocess.run(
        [directory / "bin" / "ollama", "--version"],
        env={"HOME": str(directory), "OLLAMA_HOST": "127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()[-1]


@pytest.fixture(scope="module")
def studio(archive: Path, version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainStudio]:
    """Deploy the studio by the playbooks."""
    mirror = tmp_path_factory.mktemp("mirror")
    release = mirror / "ollama" / f"v{version}"
    release.mkdir(parents=True)
    shutil.copy(archive, release / "ollama-linux-amd64.tar.zst")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    (release / "sha256sum.txt").write_text(f"{digest}  ./ollama-linux-amd64.tar.zst\n", encoding="ascii")
    inventory = tmp_path_factory.mktemp("studio")
    write_inventory(inventory, {"ollama": WORKERS})
    with serving_directory(mirror, CONTROLLER) as url:
        variables = {**VARIABLES, "noslop_ollama_version": version, "noslop_artifact_mirror": url.rstrip("/")}
        studio = PlainStudio(list_machines(), inventory, variables)
        code, output = studio.play("site")
        assert code == 0, output
        for name in WORKERS:
            studio.machines[name].check_output(f"echo {CONTROLLER} {BLOB_HOST} >> /etc/hosts", root=True)
        yield studio


def test_installed_ollama_is_the_one_of_the_archive(studio: PlainStudio, version: str) -> None:
    for name in WORKERS:
        answer = json.loads(studio.machines[name].check_output(f"curl -sSf {API}/api/version"))
        assert answer["version"] == version
        assert "NAME" in studio.machines[name].check_output("ollama list")


def test_second_run_changes_nothing(studio: PlainStudio) -> None:
    code, output = studio.play("site")
    assert code == 0, output
    assert set(count_changes_by_host(output).values()) == {0}


def test_model_of_one_machine_is_listed_and_shown_by_the_other(studio: PlainStudio, tmp_path: Path) -> None:
    one, other = (studio.machines[name] for name in WORKERS)
    (tmp_path / "tiny.gguf").write_bytes(make_model())
    (tmp_path / "Modelfile").write_text("FROM ./tiny.gguf\nSYSTEM You are small.\n", encoding="ascii")
    with subprocess.Popen(["tar", "-C", str(tmp_path), "-c", "."], stdout=subprocess.PIPE) as packed:
        subprocess.run([*one.ssh(), "mkdir -p tiny && tar -x -C tiny"], stdin=packed.stdout, check=True)
    one.check_output("cd tiny && ollama create tiny -f Modelfile", timeout_s=600)
    assert "tiny:latest" in other.check_output("ollama list")
    shown = other.check_output("ollama show tiny")
    assert "llama" in shown
    assert "You are small." in shown


def restart_beside_pull(registry: Registry, model: str, one: Machine, other: Machine) -> None:
    """Restart the daemon of one machine while the other one's is in the middle of a pull."""
    # Older than an hour: what a start of Ollama removes where it may.
    one.check_output(f"find {MODELS}/blobs -type f -exec touch -d '2 hours ago' {{}} +", root=True)
    registry.waiting.clear()
    registry.resume.clear()
    body = json.dumps({"model": registry.name(model), "insecure": True, "stream": False})
    with ThreadPoolExecutor(1) as pool:
        pull = pool.submit(one.check_output, f"curl -sSf -d '{body}' {API}/api/pull", timeout_s=600)
        try:
            wait_for("the middle of the pull", lambda: registry.waiting.is_set() or pull.done(), timeout_s=300)
            assert not pull.done(), pull.result()
            # So many starts in a row are more than the unit allows.
            restart = "systemctl reset-failed noslop-ollama.service; systemctl restart noslop-ollama.service"
            other.check_output(restart, root=True, timeout_s=300)
            wait_for("the daemon", lambda: other.run(f"curl -sf {API}/api/version").returncode == 0, timeout_s=300)
        finally:
            registry.resume.set()
        assert json.loads(pull.result())["status"] == "success"


def test_no_blob_is_lost_by_restarts_beside_pulls(studio: PlainStudio) -> None:
    one, other = (studio.machines[name] for name in WORKERS)
    orphan = b"uploaded, and named by no manifest yet"
    digest = hashlib.sha256(orphan).hexdigest()
    one.check_output(f"printf '{orphan.decode()}' | curl -sSf --data-binary @- {API}/api/blobs/sha256:{digest}")
    with serving_models(CONTROLLER, BLOB_HOST) as registry:
        # Models that no earlier run of this test has pulled.
        models = [f"m{number}-{registry.port}" for number in range(RESTARTS)]
        for model in models:
            restart_beside_pull(registry, model, one, other)
        listed = {model["name"] for model in json.loads(other.check_output(f"curl -sSf {API}/api/tags"))["models"]}
        assert {registry.name(model).removeprefix("http://") for model in models} < listed
        digests = {digest, *(blob.removeprefix("sha256:") for blob in registry.blobs)}
    assert {hashlib.sha256(make_content(model)).hexdigest() for model in models} < digests
    names = " ".join(f"sha256-{one}" for one in digests)
    sums = parse_checksums(one.check_output(f"cd {MODELS}/blobs && sha256sum {names}", root=True))
    assert sums == {f"sha256-{one}": one for one in digests}
