# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what the commands of `nodes` write into the studio's files, and what they refuse."""

from __future__ import annotations

import functools
import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from noslop_driver.commands.nodes import resolve_head
from noslop_driver.errors import DriverError
from noslop_driver.inventory.directory import STUDIO, StudioDirectory
from noslop_driver.inventory.node_lists import NodeEntry
from noslop_driver.models import StudioSettings
from noslop_driver.records import Record
from noslop_driver.secrets import Secrets
from tests.support.driver_cli import Done, run, run_json
from tests.support.plays import local_inventory
from tests.unit.conftest import StartSshd

REPO = "https://git.example.org/painter.git"
ONE = "1" * 40
TWO = "2" * 40
PAINTER: NodeEntry = {"name": "painter", "repo": REPO, "commit": ONE}
BRUSHES: NodeEntry = {"name": "brushes", "archive": "https://git.example.org/brushes.zip", "sha256": "3" * 64}
ADD_PAINTER = ("add", "painter", "--repo", REPO, "--commit")


class Studio(StudioDirectory):
    """A studio of two hosts, of which `one` runs ComfyUI. No address of them answers."""

    def __init__(self, directory: Path) -> None:
        connection = {"ansible_connection": "ssh", "ansible_host": "127.9.9.1", "ansible_port": 1}
        super().__init__(local_inventory(directory / "inventory", ["one", "two"], **connection))
        (self.path / "services.yml").write_text("comfyui: {hosts: {one: {}}}\n", encoding="utf-8")
        self.make_state_dir()
        self.write_settings(StudioSettings(studio_id="abc"))

    def nodes(self, *words: str) -> Done:
        return run("nodes", words[0], "--inventory", str(self.path), "--yes", "--no-run", *words[1:])

    def read_list(self) -> Any:  # noqa: ANN401 - as YAML has it
        return yaml.safe_load((self.path / STUDIO).read_text(encoding="utf-8"))["noslop_custom_nodes"]


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


def test_change_that_cannot_be_made_is_refused(studio: Studio) -> None:
    for words, message in (
        ((*ADD_PAINTER, "main"), "Write all 40 hexadecimal digits"),
        ((*ADD_PAINTER, ONE, "--host", "two"), "two, which is not in the group comfyui"),
    ):
        done = studio.nodes(*words)
        assert (done.returncode, studio.read_list()) == (2, [])
        assert message in done.stderr


def test_edited_file_is_left_as_it_is(studio: Studio) -> None:
    path = studio.path / STUDIO
    path.write_text(path.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    done = studio.nodes(*ADD_PAINTER, ONE)
    assert (done.returncode, studio.read_list()) == (2, [])
    assert yaml.safe_load(done.stderr.partition("deploy':\n")[2]) == {"noslop_custom_nodes": [PAINTER]}


def test_list_of_another_file_is_not_overridden(studio: Studio) -> None:
    (studio.path / "group_vars/comfyui.yml").write_text(yaml.safe_dump({"noslop_custom_nodes": [BRUSHES]}))
    done = studio.nodes(*ADD_PAINTER, ONE)
    assert (done.returncode, studio.read_list()) == (2, [])
    assert "one has another noslop_custom_nodes than" in done.stderr


def test_list_stays_where_no_host_answers(studio: Studio) -> None:
    done = run("nodes", *ADD_PAINTER, ONE, "--inventory", str(studio.path), "--yes")
    assert done.returncode == 4
    assert "Nothing was changed: no host answers." in done.stderr
    assert studio.read_list() == []


def test_failed_run_puts_the_list_back(studio: Studio, sshd_server: StartSshd) -> None:
    studio.write_settings(StudioSettings(studio_id="abc", custom_nodes=[BRUSHES]))
    server = sshd_server()
    for name in ("one", "two"):  # they answer, and no key is accepted for them
        own = studio.path / "host_vars" / f"{name}.yml"
        own.parent.mkdir(exist_ok=True)
        own.write_text(f"ansible_host: {server.address}\nansible_port: {server.port}\nansible_user: nobody\n")
    done = run("nodes", *ADD_PAINTER, ONE, "--inventory", str(studio.path), "--yes")
    assert done.returncode == 4, done.stderr
    assert "The list of custom nodes is what it was before." in done.stderr
    assert f"noslop-driver nodes add painter --repo {REPO} --commit {ONE}" in done.stderr
    assert studio.read_list() == [BRUSHES]
    assert list((studio.state_dir / "nodes").iterdir()) == [], "the list that failed is not in the history"


@pytest.mark.long
def test_list_shows_where_a_node_was_left_out_and_the_nodes_of_others(studio: Studio) -> None:
    studio.write_settings(StudioSettings(studio_id="abc", custom_nodes=[PAINTER, BRUSHES]))
    record = Record(studio.records, "verify", Secrets())
    reason = "raises ImportError: No module named 'cv2'"
    known = {"name": "by-hand", "repo": REPO, "commit": TWO, "version": "1.2"}
    details = {
        "left_out": {"painter": reason},
        "others": [known, {**known, "name": "copied", "repo": "", "commit": ""}],
    }
    check = {"host": "one", "check": "services.comfyui_nodes", "ok": False, "seen": "", "details": details}
    record.write_verification({"ok": False, "checks": [check]})
    record.finish(1, "", "test")
    output, done = run_json("nodes", "list", "--inventory", str(studio.path))
    assert [(node["name"], node["runs_on"], node["left_out"]) for node in output["nodes"]] == [
        ("painter", [], {"one": reason}),
        ("brushes", ["one"], {}),
    ]
    assert ONE in done.stderr
    assert [(node["name"], node["commit"], node["version"]) for node in output["others"]] == [
        ("by-hand", TWO, "1.2"),
        ("copied", "", "1.2"),
    ]
    assert f"noslop-driver nodes add by-hand --repo {REPO} --commit {TWO}" in done.stderr
    assert "nodes add copied" not in done.stderr
    status, _done = run_json("status", "--inventory", str(studio.path))
    assert status["nodes_left_out"] == {"one": {"painter": reason}}


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Return the address of a git repository on this computer, and its commit."""
    path = tmp_path / "served" / "painter.git"
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "init", "-q", path], check=True)
    subprocess.run(["git", "-C", path, *identity, "commit", "-q", "--allow-empty", "-m", "Start"], check=True)
    subprocess.run(["git", "-C", path, "update-server-info"], check=True)
    done = subprocess.run(["git", "-C", path, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(path.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/painter.git/.git", done.stdout.strip()
        server.shutdown()


def test_commit_of_today_is_written_and_never_a_branch(studio: Studio, repository: tuple[str, str]) -> None:
    address, commit = repository
    done = studio.nodes("add", "painter", "--repo", address)
    assert done.returncode == 0, done.stderr
    assert commit in done.stdout
    assert studio.read_list() == [{"name": "painter", "repo": address, "commit": commit}]
    assert studio.nodes("rollback").returncode == 0
    assert studio.read_list() == []
    with pytest.raises(DriverError, match="cannot be read"):
        resolve_head(address.replace("painter", "missing"))
