# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the ComfyUI stand-in: model lists, renders, refused requests, and failed starts."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import Daemon, check_success, run

Start = Callable[..., Daemon]
LISTENING = r"To see the GUI go to: http://127\.0\.0\.1:(\d+)"


@pytest.fixture
def tree(comfyui_tree: Path, tmp_path: Path) -> Path:
    """Copy the installation, without the repository."""
    return shutil.copytree(comfyui_tree, tmp_path / "ComfyUI", ignore=shutil.ignore_patterns(".git"))


@pytest.fixture
def start(python: Path, tree: Path) -> Start:
    def daemon(*flags: str) -> Daemon:
        return Daemon([str(python), "main.py", "--cpu", "--port", "0", *flags], LISTENING, cwd=tree)

    return daemon


def render(
    daemon: Daemon, prefix: str = "test", width: int = 64, height: int = 48, prompt_id: str | None = None
) -> dict[str, Any]:
    """Send a prompt and return its entry in the history once it is there."""
    prompt = {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": width, "height": height, "batch_size": 1, "color": 0xFF8000},
        },
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }
    extra: dict[str, Any] = {"extra_pnginfo": {"workflow": {"nodes": []}}}
    body = {"prompt": prompt, "extra_data": extra, "prompt_id": prompt_id}
    prompt_id = daemon.request("POST", "/prompt", body).json["prompt_id"]
    while not (entry := daemon.get(f"/history/{prompt_id}").json):
        pass
    finished: dict[str, Any] = entry[str(prompt_id)]
    return finished


def image_name(entry: dict[str, Any]) -> str:
    name: str = entry["outputs"]["2"]["images"][0]["filename"]
    return name


def test_stand_in_names_itself_and_its_versions(start: Start) -> None:
    with start() as daemon:
        stats = daemon.get("/system_stats").json
        assert stats["system"]["comfyui_version"] == "0.33.0"
        assert stats["system"]["pytorch_version"].endswith("+cpu")
        assert stats["devices"][0]["type"] == "cpu"
        assert b"stand-in" in daemon.get("/").body


def test_render_writes_a_png_with_its_workflow(start: Start) -> None:
    with start() as daemon:
        entry = render(daemon, width=320, height=200)
        assert entry["status"]["status_str"] == "success"
        png = daemon.get(f"/api/view?filename={image_name(entry)}&type=output").body
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", png[16:24]) == (320, 200)
    assert b'tEXtprompt\0{"1": {"class_type": "EmptyImage"' in png
    assert b'tEXtworkflow\0{"nodes": []}' in png


def test_output_gets_the_number_after_the_highest_listed(start: Start, tree: Path) -> None:
    with start() as daemon:
        assert image_name(render(daemon)) == "test_00001_.png"
        (tree / "output" / "test_00007_.png").touch()
        (tree / "output" / "tester_00099_.png").touch()
        assert image_name(render(daemon)) == "test_00008_.png"


def test_error_in_a_node_fails_the_prompt(start: Start, tmp_path: Path) -> None:
    with start() as daemon:
        entry = render(daemon, prefix="../../escaped")
    assert entry["status"]["status_str"] == "error"
    assert "outside the output folder" in entry["status"]["messages"][-1][1]["exception_message"]
    assert list(tmp_path.glob("*escaped*")) == []


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ({"1": {"class_type": "NoSuchNode", "inputs": {}}}, "invalid_prompt"),
        ({"1": {"class_type": "EmptyImage", "inputs": {}}}, "prompt_no_outputs"),
        ({"1": {"class_type": "SaveImage", "inputs": {}}}, "prompt_outputs_failed_validation"),
    ],
)
def test_prompt_that_cannot_run_is_refused(start: Start, prompt: dict[str, Any], kind: str) -> None:
    with start() as daemon:
        answer = daemon.request("POST", "/prompt", {"prompt": prompt})
    assert answer.status == 400
    assert answer.json["error"]["type"] == kind


def test_new_model_is_listed_at_once(start: Start, tree: Path) -> None:
    checkpoints = tree / "models" / "checkpoints"
    with start() as daemon:
        assert daemon.get("/models/checkpoints").json == []
        (checkpoints / "b.safetensors").touch()
        (checkpoints / "notes.txt").touch()
        (checkpoints / "sub").mkdir()
        os.utime(checkpoints / "sub", (0, 0))  # a clock tick is long enough for both changes to get one time
        assert daemon.get("/models/checkpoints").json == ["b.safetensors"]
        (checkpoints / "sub" / "a.ckpt").touch()
        assert daemon.get("/models/checkpoints").json == ["b.safetensors", "sub/a.ckpt"]
        choices = daemon.get("/object_info/CheckpointLoaderSimple").json["CheckpointLoaderSimple"]["input"]
        assert choices["required"]["ckpt_name"][0] == ["b.safetensors", "sub/a.ckpt"]


def test_list_is_cached_until_the_time_of_the_directory_changes(start: Start, tree: Path) -> None:
    """Imitate a host whose kernel still has the old attributes of a directory on the share."""
    checkpoints = tree / "models" / "checkpoints"
    with start() as daemon:
        assert daemon.get("/models/checkpoints").json == []
        before = checkpoints.stat()
        (checkpoints / "new.safetensors").touch()
        os.utime(checkpoints, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert daemon.get("/models/checkpoints").json == []
        os.utime(checkpoints)
        assert daemon.get("/models/checkpoints").json == ["new.safetensors"]


def test_removed_folder_is_a_server_error_and_an_unknown_one_is_404(start: Start, tree: Path) -> None:
    with start() as daemon:
        assert daemon.get("/models/loras").status == 200
        shutil.rmtree(tree / "models" / "loras")
        assert daemon.get("/models/loras").status == 500
        assert daemon.get("/models/clip").status == 404
        folders = daemon.get("/models").json
    assert {"checkpoints", "custom_nodes", "text_encoders", "latent_upscale_models"} <= set(folders)


def test_linked_models_and_nodes_work(start: Start, tree: Path, tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    for name in ("models", "custom_nodes"):
        (tree / name).rename(share / name)
        (tree / name).symlink_to(share / name)
    with start() as daemon:
        (share / "models" / "vae" / "one.safetensors").touch()
        assert daemon.get("/models/vae").json == ["one.safetensors"]
        assert "SaveImageWebsocket" in daemon.get("/object_info").json


def test_custom_node_that_fails_stops_no_other(start: Start, tree: Path) -> None:
    nodes = tree / "custom_nodes"
    (nodes / "bad.py").write_text("import a_package_nobody_installed\n")
    (nodes / "good").mkdir()
    (nodes / "good" / "__init__.py").write_text(
        "class Good:\n"
        "    RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), 'go', True\n"
        "    INPUT_TYPES = classmethod(lambda cls: {'required': {}})\n"
        "    go = lambda self: {'ui': {'text': ['hello']}}\n"
        "NODE_CLASS_MAPPINGS = {'Good': Good}\n"
    )
    with start() as daemon:
        assert f"(IMPORT FAILED): {nodes / 'bad.py'}" in daemon.log
        assert daemon.get("/object_info/Good").json["Good"]["python_module"] == "custom_nodes.good"


def test_nodes_of_the_mirror_import_as_their_names_say(
    start: Start, server: Daemon, manifest: dict[str, Any], tree: Path
) -> None:
    """Import each pack's older commit, and the newer ones that neither end the process nor write outside."""
    harmless = {"good", "good-with-packages", "contradicting", "raises"}
    for name, commits in manifest["nodes"].items():
        for label, commit in zip(("old", "new"), commits, strict=True):
            if label == "new" and name not in harmless:
                continue
            directory = tree / "custom_nodes" / f"{name}-{label}"
            check_success(run("git", "clone", "--quiet", f"{server.url}/nodes/{name}.git", directory))
            check_success(run("git", "checkout", "--quiet", commit, cwd=directory))
    with start() as daemon:
        failed = {line.rpartition("/")[2] for line in daemon.log.splitlines() if "(IMPORT FAILED)" in line}
    # The environment of these tests lacks the package of this node.
    assert failed == {"raises-new", "good-with-packages-old", "good-with-packages-new"}


def test_view_refuses_files_outside_its_directories(start: Start, tree: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_text("secret")
    output = tree / "output"
    (output / "link.png").symlink_to(secret)
    (output / "linked").symlink_to(tmp_path)
    (output / "page.html").write_text("<script>")
    with start() as daemon:
        statuses = {
            query: daemon.get(f"/view?type=output&{query}").status
            for query in (
                "filename=link.png",
                "filename=secret.png&subfolder=linked",
                "filename=secret.png&subfolder=../..",
                "filename=../secret.png",
                "filename=/etc/passwd",
                "filename=nothing.png",
                "filename=page.html",
            )
        }
        assert daemon.get("/view?type=models&filename=x.png").status == 400
    assert list(statuses.values()) == [403, 403, 403, 400, 400, 404, 200]


def test_name_may_contain_its_directory(start: Start, tree: Path) -> None:
    (tree / "input").mkdir(exist_ok=True)
    (tree / "input" / "given.png").write_bytes(b"given")
    with start() as daemon:
        assert daemon.get("/view?type=output&filename=given.png").status == 404
        assert daemon.get("/view?type=output&filename=given.png%20%5Binput%5D").body == b"given"


def test_previews_and_latents_have_their_own_types(start: Start) -> None:
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 32, "batch_size": 1}},
        "4": {"class_type": "SaveLatent", "inputs": {"samples": ["3", 0], "filename_prefix": "latents/x"}},
    }
    with start() as daemon:
        prompt_id = daemon.request("POST", "/prompt", {"prompt": prompt}).json["prompt_id"]
        while not (entry := daemon.get(f"/history/{prompt_id}").json):
            pass
        outputs = entry[prompt_id]["outputs"]
        assert outputs["2"]["images"][0]["type"] == "temp"
        assert outputs["4"]["latents"] == [{"filename": "x_00001_.latent", "subfolder": "latents", "type": "output"}]
        latent = daemon.get("/view?type=output&subfolder=latents&filename=x_00001_.latent").body
        assert len(latent) == 8 + int.from_bytes(latent[:8], "little") + 4 * 4 * 4 * 8


def test_history_returns_the_requested_number(start: Start) -> None:
    with start() as daemon:
        for prefix in ("a", "b", "c"):
            render(daemon, prefix)
        history = list(daemon.get("/history").json)
        assert len(history) == 3
        assert list(daemon.get("/history?max_items=2").json) == history[1:]
        assert list(daemon.get("/history?max_items=1&offset=1").json) == history[1:2]


def release(comfyui_tree: Path, directory: Path, tag: str) -> Path:
    """Check out another release of the stand-in."""
    tree = directory / tag
    check_success(run("git", "clone", "--quiet", "--branch", tag, comfyui_tree, tree))
    return tree


def test_prompts_are_listed_as_jobs_under_their_own_ids(start: Start, tree: Path) -> None:
    pipe = tree.parent / "pipe"
    os.mkfifo(pipe)
    (tree / "custom_nodes" / "waits.py").write_text(
        "class Waits:\n"
        "    RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), 'go', True\n"
        "    INPUT_TYPES = classmethod(lambda cls: {'required': {}})\n"
        f"    go = lambda self: open({str(pipe)!r}).read() or {{}}\n"
        "NODE_CLASS_MAPPINGS = {'Waits': Waits}\n"
    )
    ids = [f"00000000-0000-4000-8000-00000000000{number}" for number in range(4)]

    with start() as daemon:

        def send(prompt_id: str, *class_types: str) -> int:
            nodes = {str(number): {"class_type": kind, "inputs": {}} for number, kind in enumerate(class_types)}
            return daemon.request("POST", "/prompt", {"prompt": nodes, "prompt_id": prompt_id}).status

        def status(prompt_id: str) -> str:
            job: str = daemon.get(f"/api/jobs/{prompt_id}").json["status"]
            return job

        assert send(ids[0].replace("0", "A"), "Waits") == 400
        assert render(daemon, prompt_id=ids[0])["status"]["status_str"] == "success"
        assert render(daemon, prefix="../../escaped", prompt_id=ids[1])["status"]["status_str"] == "error"
        assert [send(ids[2], "Waits", "Waits"), send(ids[3], "Waits")] == [200, 200]
        while status(ids[2]) == "pending":
            pass
        assert daemon.get(f"/history/{ids[2]}").json == {}
        assert [status(prompt_id) for prompt_id in ids] == ["completed", "failed", "in_progress", "pending"]
        answers = [daemon.request("POST", f"/api/jobs/{ids[number]}/cancel").json for number in (3, 2, 0)]
        pipe.write_text("go on")
        while status(ids[2]) == "in_progress":
            pass

        assert answers == [{"cancelled": True}, {"cancelled": True}, {"cancelled": False}]
        assert daemon.get(f"/api/jobs/{ids[3]}").status == 404
        answer = daemon.get("/api/jobs?status=cancelled,completed&sort_by=created_at&limit=1&offset=1").json
        assert [(job["id"], job["outputs_count"]) for job in answer["jobs"]] == [(ids[0], 1)]
        assert answer["pagination"] == {"offset": 1, "limit": 1, "total": 2, "has_more": False}
        assert daemon.get("/api/jobs?status=lost").status == 400


def test_older_release_has_no_jobs_and_fewer_flags(python: Path, comfyui_tree: Path, tmp_path: Path) -> None:
    tree = release(comfyui_tree, tmp_path, "v0.3.64")
    with Daemon([str(python), "main.py", "--cpu", "--port", "0"], LISTENING, cwd=tree) as daemon:
        assert daemon.get("/system_stats").json["system"]["comfyui_version"] == "0.3.64"
        assert daemon.get("/api/jobs").status == 404
        assert render(daemon, prompt_id="ANY-TEXT")["status"]["status_str"] == "success"
    assert run(python, "main.py", "--cpu", "--enable-assets", cwd=tree).returncode == 2


def test_database_of_a_newer_release_is_refused_and_its_copy_is_migrated(
    python: Path, comfyui_tree: Path, tmp_path: Path
) -> None:
    old, new, broken = (release(comfyui_tree, tmp_path, tag) for tag in ("v0.3.64", "v0.33.0", "v0.33.3"))

    def log_of_start(tree: Path, database: Path) -> str:
        flags = ("--cpu", "--quick-test-for-ci", "--database-url", f"sqlite:///{database}")
        ended = run(python, "main.py", *flags, cwd=tree)
        assert ended.returncode == 0
        return ended.stderr

    before, after = tmp_path / "before.db", tmp_path / "after.db"
    assert "Database upgraded from None to 0001_starts" in log_of_start(old, before)
    shutil.copy(before, after)
    assert "Database upgraded from 0001_starts to 0002_versions" in log_of_start(new, after)
    assert "Failed to initialize database" not in log_of_start(new, after) + log_of_start(old, before)
    content = after.read_bytes()
    assert "Can't locate revision identified by '0002_versions'" in log_of_start(old, after)
    log = log_of_start(broken, after)
    assert "Error upgrading database: no such table" in log
    assert "Failed to initialize database. Please" in log
    assert after.read_bytes() == content


def test_release_that_answers_and_cannot_render(python: Path, comfyui_tree: Path, tmp_path: Path) -> None:
    tree = release(comfyui_tree, tmp_path, "v0.33.2")
    with Daemon([str(python), "main.py", "--cpu", "--port", "0"], LISTENING, cwd=tree) as daemon:
        assert render(daemon)["status"]["messages"][-1][0] == "execution_error"


def test_release_that_starts_and_never_answers(python: Path, comfyui_tree: Path, tmp_path: Path) -> None:
    tree = release(comfyui_tree, tmp_path, "v0.33.1")
    with (
        Daemon([str(python), "main.py", "--cpu", "--port", "0"], LISTENING, cwd=tree) as daemon,
        socket.create_connection(("127.0.0.1", daemon.port), timeout=1) as connection,
    ):
        connection.sendall(b"GET /system_stats HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_nodes_on_the_list_are_imported_and_the_program_ends(python: Path, tree: Path) -> None:
    for name in ("wanted", "other"):
        (tree / "custom_nodes" / f"{name}.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    flags = ("--quick-test-for-ci", "--disable-all-custom-nodes", "--whitelist-custom-nodes", "wanted.py", "absent")
    ended = run(python, "main.py", "--cpu", *flags, cwd=tree)
    assert ended.returncode == 0
    heading, line, *_ = ended.stderr.partition("Import times for custom nodes:")[1:]
    assert heading
    assert line.split("\n")[1].endswith(f" seconds: {tree}/custom_nodes/wanted.py")
    assert "Skipping other.py due to" in ended.stderr


def test_assets_and_models_may_be_elsewhere(start: Start, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tree / "models").rename(tmp_path / "far" / "models")
    (tmp_path / "far" / "models" / "vae" / "one.safetensors").touch()
    with start("--enable-assets", "--models-directory", str(tmp_path / "far" / "models")) as daemon:
        assert daemon.get("/models/vae").json == ["one.safetensors"]
        assert "Assets scan(roots=['models', 'input', 'output']) completed" in daemon.log


def test_second_process_on_the_database_ends(start: Start, python: Path, tree: Path, tmp_path: Path) -> None:
    with start() as first:
        second = run(python, "main.py", "--cpu", "--port", "0", cwd=tree)
        assert second.returncode == 1
        assert "Could not acquire lock on database" in second.stderr
        with start("--database-url", f"sqlite:///{tmp_path}/another.db") as third:
            assert third.get("/queue").status == first.get("/queue").status == 200
    with start() as restarted:
        assert restarted.get("/queue").json == {"queue_running": [], "queue_pending": []}


@pytest.mark.parametrize(("name", "named"), [("models", "ComfyUI/models"), ("custom_nodes", "/nowhere/at/all")])
def test_start_fails_without_a_directory(python: Path, tree: Path, name: str, named: str) -> None:
    shutil.rmtree(tree / name)
    (tree / name).symlink_to("/nowhere/at/all")
    ended = run(python, "main.py", "--cpu", "--port", "0", cwd=tree)
    assert ended.returncode == 1
    assert named in ended.stderr


def test_start_fails_without_a_package(tree: Path) -> None:
    ended = run(sys.executable, "-S", "main.py", "--cpu", cwd=tree)
    assert ended.returncode == 1
    assert "No module named 'torch'" in ended.stderr


def test_start_without_a_gpu_needs_the_cpu_flag(python: Path, tree: Path) -> None:
    ended = run(python, "main.py", cwd=tree)
    assert ended.returncode == 1
    assert "Torch not compiled with CUDA enabled" in ended.stderr


def test_flags_are_those_of_the_original(python: Path, tree: Path, tmp_path: Path) -> None:
    assert run(python, "main.py", "--no-such-flag", cwd=tree).returncode == 2
    missing = run(python, "main.py", "--user-directory", tmp_path / "missing", cwd=tree)
    assert missing.returncode == 2
    assert "missing: No such file or directory" in missing.stderr


def test_flags_for_directories_leave_the_tree_unchanged(
    start: Start, comfyui_tree: Path, tree: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    flags = []
    for name in ("user", "output", "input", "temp"):
        (state / name).mkdir(parents=True)
        flags += [f"--{name}-directory", str(state / name)]
    extra = state / "extra.yaml"
    extra.write_text(f"more:\n    base_path: {state}\n    checkpoints: elsewhere\n")
    (state / "elsewhere").mkdir()
    (state / "elsewhere" / "far.safetensors").touch()
    flags += ["--database-url", f"sqlite:///{state}/comfyui.db", "--extra-model-paths-config", str(extra)]
    with start(*flags) as daemon:
        render(daemon)
        assert daemon.get("/models/checkpoints").json == ["far.safetensors"]
    assert (state / "output" / "test_00001_.png").exists()
    assert (state / "comfyui.db").exists()
    made = run("diff", "-rq", "-x", "__pycache__", "-x", ".git", comfyui_tree, tree)
    assert check_success(made) == ""
