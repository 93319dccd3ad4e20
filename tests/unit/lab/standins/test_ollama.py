# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the Ollama stand-in: its changes to a models directory, alone and beside others, and its failures."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import Daemon, check_success, run

Start = Callable[..., Daemon]
LISTENING = r"Listening on \S+:(\d+) "
TWO_HOURS_S = 2 * 3600


@pytest.fixture(scope="session")
def program(mirror: Path, manifest: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpack the program from the archive, and link to it as an installation does."""
    root = tmp_path_factory.mktemp("ollama")
    (root / "0.32.7").mkdir()
    archive = mirror / "ollama" / f"v{manifest['ollama_version']}" / "ollama-linux-amd64.tar.zst"
    check_success(run("tar", "--zstd", "-xf", archive, "-C", root / "0.32.7"))
    (root / "ollama").symlink_to("0.32.7/bin/ollama")
    return root / "ollama"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("OLLAMA_")}
    variables = {"HOME": str(tmp_path / "home"), "OLLAMA_MODELS": str(tmp_path / "models")}
    return {**inherited, **variables, "OLLAMA_HOST": "127.0.0.1:0"}


@pytest.fixture
def start(program: Path, env: dict[str, str]) -> Start:
    def daemon(**more: str) -> Daemon:
        return Daemon([str(program), "serve"], LISTENING, {**env, **more})

    return daemon


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    return tmp_path / "models" / "blobs"


def pull(daemon: Daemon, model: str) -> list[dict[str, Any]]:
    return daemon.request("POST", "/api/pull", {"model": model}).lines


def list_models(daemon: Daemon) -> list[str]:
    return sorted(model["name"] for model in daemon.get("/api/tags").json["models"])


def write_file(path: Path, age_s: float) -> Path:
    path.write_text("something")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_pull_writes_a_model_in_the_layout_of_the_vendor(start: Start, tmp_path: Path) -> None:
    with start() as daemon:
        events = pull(daemon, "tiny")
    assert events[0] == {"status": "pulling manifest"}
    assert events[-1] == {"status": "success"}
    progress = [event for event in events if "total" in event]
    assert [event["completed"] for event in progress] == sorted(event["completed"] for event in progress)
    assert progress[-1]["completed"] == progress[-1]["total"]
    manifest = tmp_path / "models" / "manifests" / "registry.ollama.ai" / "library" / "tiny" / "latest"
    layers = json.loads(manifest.read_text())["layers"]
    blob = tmp_path / "models" / "blobs" / layers[0]["digest"].replace(":", "-")
    assert blob.stat().st_size == layers[0]["size"] == progress[-1]["total"]


def test_modes_of_models_do_not_depend_on_the_umask(start: Start, tmp_path: Path) -> None:
    mask = os.umask(0o002)
    try:
        with start() as daemon:
            pull(daemon, "tiny")
    finally:
        os.umask(mask)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "models").rglob("*") if path.is_file()}
    directories = {path.stat().st_mode & 0o777 for path in (tmp_path / "models").rglob("*") if path.is_dir()}
    assert (modes, directories) == ({0o644}, {0o755})


def make_old(paths: Iterable[Path]) -> None:
    for path in paths:
        os.utime(path, (time.time() - TWO_HOURS_S,) * 2)


def test_start_removes_old_files_that_no_manifest_names(start: Start, blobs: Path) -> None:
    with start() as daemon:
        pull(daemon, "tiny")
    kept = list(blobs.iterdir())
    make_old(kept)
    for name in ("sha256-" + "a" * 64, "sha256-" + "c" * 64 + "-partial", "README"):
        write_file(blobs / name, TWO_HOURS_S)
    young = [write_file(blobs / ("sha256-" + "b" * 64 + end), 0) for end in ("", "-partial")]
    everything = sorted(blobs.iterdir())
    for value in ("1", "yes", "no", "off"):  # what is no boolean counts as true
        with start(OLLAMA_NOPRUNE=value):
            assert sorted(blobs.iterdir()) == everything
    with start(OLLAMA_NOPRUNE="false"):
        assert sorted(blobs.iterdir()) == sorted([*kept, *young])


def test_start_without_manifests_removes_every_old_blob(start: Start, blobs: Path) -> None:
    with start() as daemon:
        pull(daemon, "tiny")
    make_old(blobs.iterdir())
    (blobs.parent / "manifests").rename(blobs.parent / "elsewhere")
    with start():
        assert list(blobs.iterdir()) == []


@pytest.mark.parametrize(("name", "status"), [("truncated", 200), (".nfs0001", 200), ("dangling", 500)])
def test_unreadable_manifest_stops_the_pruning(start: Start, blobs: Path, name: str, status: int) -> None:
    with start() as daemon:
        pull(daemon, "tiny")
    old = write_file(blobs / ("sha256-" + "a" * 64), TWO_HOURS_S)
    tags = blobs.parent / "manifests" / "registry.ollama.ai" / "library" / "tiny"
    if name == "dangling":
        (tags / name).symlink_to("nowhere")
    else:
        (tags / name).write_text("{")
    with start() as daemon:
        assert old.exists()
        assert daemon.get("/api/tags").status == status
        assert daemon.request("POST", "/api/show", {"model": "tiny"}).status == 500
        assert daemon.request("DELETE", "/api/delete", {"model": "tiny"}).status == 500


def test_pull_does_not_look_at_a_blob_that_is_there(start: Start, blobs: Path) -> None:
    with start() as daemon:
        pull(daemon, "tiny")
        biggest = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
        os.truncate(biggest, 100)
        assert pull(daemon, "tiny")[-1] == {"status": "success"}
        assert list_models(daemon) == ["tiny:latest"]
    assert biggest.stat().st_size == 100


def test_model_pulled_by_one_daemon_is_listed_by_the_others_at_once(start: Start) -> None:
    with start(OLLAMA_NOPRUNE="1") as one, start(OLLAMA_NOPRUNE="1") as other:
        assert list_models(other) == []
        pull(one, "tiny:7b")
        assert list_models(other) == ["tiny:7b"]
        other.request("DELETE", "/api/delete", {"model": "tiny:7b"})
        assert list_models(one) == []


def start_pull(daemon: Daemon) -> http.client.HTTPResponse:
    """Begin a pull and return its answer, of which some megabytes are still to come."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port)
    connection.request("POST", "/api/pull", json.dumps({"model": "tiny"}))
    answer = connection.getresponse()
    assert json.loads(answer.readline()) == {"status": "pulling manifest"}
    assert json.loads(answer.readline())["completed"] > 0
    return answer


def test_two_daemons_that_pull_one_model_write_one_partial_file(start: Start, blobs: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with start(OLLAMA_STANDIN_PULL_GATE=str(gate)) as slow, start(OLLAMA_NOPRUNE="1") as fast:
        answer = start_pull(slow)
        assert len(list(blobs.glob("*-partial"))) == 1
        assert pull(fast, "tiny")[-1] == {"status": "success"}
        assert list(blobs.glob("*-partial")) == []
        gate.touch()
        last = json.loads(answer.read().splitlines()[-1])
        answer.close()
    assert "no such file or directory" in last["error"]


def test_generate_reads_the_model_and_names_the_stand_in(start: Start, blobs: Path) -> None:
    with start() as daemon:
        pull(daemon, "tiny")
        answer = daemon.request("POST", "/api/generate", {"model": "tiny", "prompt": "Hello?", "stream": False})
        assert "stand-in" in answer.json["response"]
        parts = daemon.request("POST", "/api/generate", {"model": "tiny", "prompt": "Hello?"}).lines
        assert "".join(part["response"] for part in parts) == answer.json["response"]
        assert [part["done"] for part in parts].count(True) == 1
        biggest = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
        os.truncate(biggest, 100)
        broken = daemon.request("POST", "/api/generate", {"model": "tiny", "prompt": "Hello?"})
        assert broken.status == 500
        assert "unable to load model" in broken.json["error"]
        assert daemon.request("POST", "/api/generate", {"model": "none", "prompt": "x"}).status == 404


def test_model_made_from_another_keeps_the_shared_layer(start: Start, blobs: Path) -> None:
    with start() as daemon:
        pull(daemon, "tiny")
        made = daemon.request("POST", "/api/create", {"model": "polite", "from": "tiny", "system": "Be polite."})
        assert made.lines[-1] == {"status": "success"}
        daemon.request("DELETE", "/api/delete", {"model": "tiny"})
        assert list_models(daemon) == ["polite:latest"]
        assert daemon.request("POST", "/api/generate", {"model": "polite", "prompt": "x"}).status == 200
        daemon.request("DELETE", "/api/delete", {"model": "polite"})
    assert list(blobs.iterdir()) == []


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "http://127.0.0.1:{}", ":{}", "0.0.0.0:{}", "localhost:{}/"])
def test_command_line_uses_the_daemon_at_ollama_host(
    program: Path, env: dict[str, str], start: Start, form: str
) -> None:
    with start() as daemon:
        env["OLLAMA_HOST"] = form.format(daemon.port)
        assert check_success(run(program, "--version", env=env)) == "ollama version is 0.32.7\n"
        check_success(run(program, "pull", "tiny", env=env))
        head, row = check_success(run(program, "list", env=env)).splitlines()
        assert head.split() == ["NAME", "ID", "SIZE", "MODIFIED"]
        assert row.startswith("tiny:latest ")
        assert check_success(run(program, "rm", "tiny", env=env)) == "deleted 'tiny'\n"


@pytest.mark.parametrize(
    ("listen", "headers", "status"),
    [
        ("127.0.0.1:0", {"Host": "localhost"}, 200),
        ("127.0.0.1:0", {"Host": "studio.local:11434"}, 200),
        ("127.0.0.1:0", {"Host": "evil.example"}, 403),
        ("127.0.0.1:0", {"Origin": "http://localhost:3000"}, 200),
        ("127.0.0.1:0", {"Origin": "https://evil.example"}, 403),
        ("0.0.0.0:0", {"Host": "evil.example"}, 200),
    ],
)
def test_loopback_answers_to_names_of_this_host_alone(
    start: Start, listen: str, headers: dict[str, str], status: int
) -> None:
    with start(OLLAMA_HOST=listen) as daemon:
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port)
        connection.request("GET", "/api/version", headers=headers)
        answer = connection.getresponse()
        connection.close()
        assert answer.status == status
        assert ("Listening on [::]:" in daemon.log) == (listen.startswith("0.0.0.0") and socket.has_dualstack_ipv6())


def test_each_release_names_itself_and_the_last_one_never_answers(
    mirror: Path, manifest: dict[str, Any], tmp_path: Path, env: dict[str, str]
) -> None:
    for version in ("0.32.15", "0.32.16"):
        archive = mirror / "ollama" / f"v{version}" / "ollama-linux-amd64.tar.zst"
        assert hashlib.sha256(archive.read_bytes()).hexdigest() == manifest["ollama_releases"][version]["amd64"]
        (tmp_path / version).mkdir()
        check_success(run("tar", "--zstd", "-xf", archive, "-C", tmp_path / version))
    env["OLLAMA_HOST"] = "127.0.0.1:1"
    newer = check_success(run(tmp_path / "0.32.15" / "bin" / "ollama", "--version", env=env))
    assert newer.endswith("Warning: client version is 0.32.15\n")
    env["OLLAMA_HOST"] = "127.0.0.1:0"
    with (
        Daemon([str(tmp_path / "0.32.16" / "bin" / "ollama"), "serve"], LISTENING, env) as daemon,
        socket.create_connection(("127.0.0.1", daemon.port), timeout=1) as connection,
    ):
        connection.sendall(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_command_line_without_a_daemon_fails_with_the_next_step(program: Path, env: dict[str, str]) -> None:
    env["OLLAMA_HOST"] = "127.0.0.1:1"
    failed = run(program, "list", env=env)
    assert failed.returncode == 1
    assert failed.stderr == "Error: could not connect to ollama server, run 'ollama serve' to start it\n"


def test_unknown_model_is_an_error(program: Path, env: dict[str, str], start: Start) -> None:
    with start() as daemon:
        env["OLLAMA_HOST"] = f"127.0.0.1:{daemon.port}"
        for command, message in (("run", "model 'none:latest' not found"), ("rm", "model 'none:latest' not found")):
            failed = run(program, command, "none", env=env)
            assert (failed.returncode, failed.stderr) == (1, f"Error: {message}\n")
        assert run(program, "pull", "does-not-exist", env=env).stderr.endswith("file does not exist\n")
        assert daemon.request("POST", "/api/pull", {"model": "../../etc"}).status == 400


def test_second_daemon_on_a_port_ends(program: Path, env: dict[str, str], start: Start) -> None:
    with start() as daemon:
        env["OLLAMA_HOST"] = f"127.0.0.1:{daemon.port}"
        failed = run(program, "serve", env=env)
    assert failed.returncode == 1
    assert f"Error: listen tcp 127.0.0.1:{daemon.port}: bind: address already in use" in failed.stderr


def test_daemon_that_cannot_write_does_not_start(program: Path, env: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    failed = run(program, "serve", env={**env, "OLLAMA_MODELS": str(file / "models")})
    assert failed.returncode == 1
    assert f"Error: mkdir {file}" in failed.stderr
    assert failed.stderr.endswith("ensure path elements are traversable\n")
    failed = run(program, "serve", env={**env, "HOME": str(file)})
    assert failed.returncode == 1
    assert "Error: could not create directory" in failed.stderr


def test_start_writes_a_key_in_the_home_directory(start: Start, tmp_path: Path) -> None:
    with start():
        key = tmp_path / "home" / ".ollama" / "id_ed25519"
        assert key.stat().st_mode & 0o777 == 0o600
