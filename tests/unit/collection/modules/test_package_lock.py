"""Test that the file of resolved packages is written once beside the inventory, where Ansible ignores it."""

from __future__ import annotations

import getpass
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.module_utils.install import uv
from ansible_collections.noslop.studio.plugins.modules import package_lock
from uv import find_uv_bin

from tests.support.package_index import wheel

PROJECT = Path(__file__).parents[4]


class Studio:
    """Two hosts that are this computer, an inventory's directory, and an index."""

    def __init__(self, root: Path) -> None:
        self.inventory, self.index, self.programs = root / "inventory", root / "index", root / "programs"
        self.inventory.mkdir()
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        (self.inventory / "hosts.json").write_text(json.dumps({"all": {"hosts": {"one": host, "two": host}}}))
        place = self.programs / uv.TOOLS / f"uv-{uv.VERSION}"
        place.mkdir(parents=True)
        (place / "uv").symlink_to(find_uv_bin())
        wheel(self.index, "nst-torch", "1.0")
        task = {
            "name": "Write down the packages",
            "noslop.studio.package_lock": {
                "directory": "{{ lock_directory | default(inventory_dir) }}",
                "name": "comfyui-v1-cpu",
                "steps": [{"packages": ["nst-torch"], "index_url": self.index.as_uri()}],
                "account": getpass.getuser(),
                "reader": getpass.getuser(),
                "programs": str(self.programs),
            },
        }
        self.play = root / "play.yml"
        self.play.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))

    def run(self, *words: str) -> str:
        bin_ = Path(sys.executable).parent
        command = [str(bin_ / "ansible-playbook"), "-i", str(self.inventory), str(self.play), *words]
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(PROJECT / "collections"),
            "ANSIBLE_NOCOLOR": "1",
            "PIP_CONFIG_FILE": os.devnull,
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def locks(self) -> list[Path]:
        return sorted(self.inventory.glob("*.lock.txt"))


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    return Studio(tmp_path)


def test_one_host_resolves_for_all_hosts(studio: Studio) -> None:
    studio.run("--check")
    assert studio.locks() == []

    assert studio.run().count("changed=1") == 1
    (lock,) = studio.locks()
    text = lock.read_text()
    assert f"comfyui-v1-cpu-python{sys.version_info[0]}.{sys.version_info[1]}-" in lock.name
    assert "nst-torch==1.0 \\\n    --hash=sha256:" in text

    wheel(studio.index, "nst-torch", "2.0")
    output = studio.run()  # which also reads the inventory with the file in it
    assert "changed=1" not in output
    assert "WARNING" not in output
    assert lock.read_text() == text


def test_documented_example_runs(studio: Studio) -> None:
    requirements = studio.programs / "comfyui/v0.3.64/requirements.txt"
    requirements.parent.mkdir(parents=True)
    requirements.write_text("nst-painter\n")
    wheel(studio.index, "torch", "1.0")
    wheel(studio.index, "nst-painter", "1.0")
    text = re.sub(r"https://[^\s]+", studio.index.as_uri(), package_lock.EXAMPLES)
    (task,) = yaml.safe_load(text.replace("/opt/noslop", str(studio.programs)))
    arguments = task["noslop.studio.package_lock"]
    arguments["steps"][1]["index_url"] = studio.index.as_uri()  # in place of PyPI
    arguments |= {"account": getpass.getuser(), "reader": getpass.getuser(), "programs": str(studio.programs)}
    studio.play.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))

    assert studio.run("--limit", "one").count("changed=1") == 1

    (lock,) = studio.locks()
    assert lock.name.startswith("comfyui-v0.3.64-cpu-python")
    assert {"torch==1.0", "nst-painter==1.0"} <= set(lock.read_text().split())


def test_unwritable_file_is_a_warning(studio: Studio) -> None:
    output = studio.run("--limit", "one", "-e", f"lock_directory={studio.inventory}/missing")
    assert "cannot be written" in output
