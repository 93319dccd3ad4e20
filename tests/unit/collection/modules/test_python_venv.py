"""Test that an environment has exactly the packages of its lock, belongs to root, and stays as long as its lock."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.action import package_lock
from ansible_collections.noslop.studio.plugins.module_utils.install import uv
from ansible_collections.noslop.studio.plugins.modules import python_venv
from uv import find_uv_bin

from tests.support.module_runner import run_module
from tests.support.package_index import sdist, wheel

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two accounts")
#: An account of every Debian without processes.
BUILDER = "games"


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return uv at a path where the build account can run it."""
    place = tmp_path_factory.mktemp("uv") / "uv"
    shutil.copy(find_uv_bin(), place)
    return place


class Host:
    """Two indexes: one with torch for this host's GPU, and one with everything else and a newer torch."""

    def __init__(self, root: Path, tool: Path) -> None:
        self.gpu, self.all, self.programs = root / "gpu", root / "all", root / "programs"
        self.inventory = root / "inventory"
        self.venvs = self.programs / "comfyui" / "venvs"
        self.venv = self.venvs / "v1"
        self.requirements = root / "requirements.txt"
        self.requirements.write_text("nst-painter  # paints\n")
        self.account = getpass.getuser()
        self.inventory.mkdir()
        for path in (root.parent.parent, root.parent, root):
            path.chmod(0o755)
        place = self.programs / uv.TOOLS / f"uv-{uv.VERSION}"
        place.mkdir(parents=True)
        (place / "uv").symlink_to(tool)
        tool.parent.chmod(0o755)
        wheel(self.gpu, "nst-torch", "1.0+cpu")
        wheel(self.all, "nst-torch", "2.0")
        wheel(self.all, "nst-painter", "1.0", needs="nst-torch")
        wheel(self.all, "nst-extra", "1.0")

    @property
    def indexes(self) -> list[str]:
        return [self.gpu.as_uri(), self.all.as_uri()]

    def lock(self, *, directory: Path | None = None, **more: object) -> dict[str, Any]:
        """Resolve a lock as the action plugin does, with the module run as Ansible runs it."""
        steps = [
            {"packages": ["nst-torch"], "index_url": self.indexes[0]},
            {"packages": ["nst-extra"], "requirements": [str(self.requirements)], "index_url": self.indexes[1]},
        ]
        arguments: dict[str, Any] = {"name": "comfyui-v1-cpu", "steps": steps, "account": self.account}
        arguments |= {"programs": str(self.programs), "reader": self.account, **more}
        about = run_module("package_lock", arguments)
        if "inputs" not in about:
            return about
        path = (directory or self.inventory) / "comfyui-v1-cpu.lock.txt"
        text = package_lock.read_lock(path, about["inputs"])
        if not text:
            about = run_module("package_lock", {**arguments, "resolve": True})
            if "resolved" not in about:
                return about
            text = package_lock.format_lock("comfyui-v1-cpu", about["inputs"], about["resolved"])
            assert not package_lock.write_lock(path, text)
        return {"lock": text}

    def keep(self, lock: str = "", *, check: bool = False, **more: object) -> dict[str, Any]:
        arguments: dict[str, Any] = {"path": str(self.venv), "lock": lock, "indexes": self.indexes}
        arguments |= {"account": self.account, "programs": str(self.programs), **more}
        return run_module("python_venv", arguments, check=check)

    def has(self, program: str) -> str:
        done = subprocess.run([self.venv / "bin/python", "-c", program], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def contents(self) -> dict[str, bytes]:
        """Return each file of the packages, without compiled ones."""
        return {
            str(path.relative_to(self.venv)): path.read_bytes()
            for path in (self.venv / "lib").rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.fixture
def host(tmp_path: Path, tool: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # only our indexes
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    return Host(tmp_path, tool)


def test_documented_example_runs(host: Host) -> None:
    text = re.sub(r"https://[^\s\]]+", host.indexes[0], python_venv.EXAMPLES)
    text = text.replace("/opt/noslop", str(host.programs)).replace("{{ packages.lock }}", "@lock")
    (task,) = yaml.safe_load(text)
    steps = [{"packages": ["nst-torch"], "index_url": host.indexes[0]}]
    arguments = {**task["noslop.studio.python_venv"], "lock": host.lock(steps=steps)["lock"]}

    result = run_module("python_venv", {**arguments, "account": host.account, "programs": str(host.programs)})

    assert result["changed"], result
    assert (host.venvs / "v0.3.64-cpu/bin/python").exists()


def test_environment_is_installed_from_its_lock_once(host: Host) -> None:
    """Test several steps in one test, because each environment takes seconds to make."""
    lock = host.lock()["lock"]
    assert host.keep(lock, check=True)["changed"]
    assert not host.venv.exists()
    assert host.keep(lock)["changed"]
    # The other index has a newer torch, for another GPU.
    assert host.has("import nst_extra, nst_painter, nst_torch; print(nst_torch.version)") == "1.0+cpu"
    assert str(host.venv) in host.has("import sys; print(sys.prefix)")

    shutil.move(host.gpu, host.gpu.with_name("gone"))  # no index is used while nothing changes
    assert not host.keep(lock)["changed"]
    assert not host.keep(lock, check=True)["changed"]
    assert host.keep(lock + "\n", check=True)["changed"]
    assert os.listdir(host.programs / ".build") == [".lock"]


def test_environment_without_room_is_refused(host: Host) -> None:
    (host.venvs / "in-use").mkdir(parents=True)
    with (host.venvs / "in-use" / "library").open("wb") as stream:
        stream.truncate(8 * 10**12)  # sparse
    answer = host.keep("a==1 --hash=sha256:" + "0" * 64, prune=str(host.venvs))
    assert "another environment as large as those in it needs 8000.0 GB" in answer["msg"]
    assert not host.venv.exists()
    assert not (host.programs / ".build").exists()


def test_two_deploys_a_day_apart_install_the_same_bytes(host: Host) -> None:
    lock = host.lock()["lock"]
    host.keep(lock)
    before = host.contents()
    wheel(host.all, "nst-painter", "1.1", needs="nst-torch")
    wheel(host.all, "nst-extra", "2.0")
    wheel(host.gpu, "nst-torch", "3.0+cpu")
    assert host.lock()["lock"] == lock
    host.venv = host.venvs / "another-host"
    host.keep(lock)
    assert host.contents() == before

    host.requirements.write_text("nst-painter\nnst-torch\n")  # the inputs changed: resolved again
    assert "nst-painter==1.1" in host.lock()["lock"]


def test_package_requested_by_a_later_step_comes_from_its_index(host: Host) -> None:
    """Test a package such as numpy, of which the index of torch has an old version."""
    wheel(host.gpu, "nst-torch", "1.1+cpu", needs="nst-numpy")
    wheel(host.gpu, "nst-numpy", "1.0")
    wheel(host.all, "nst-numpy", "2.0")
    first, second = uv.split_lock(host.lock()["lock"])
    assert ("nst-numpy==1.0" in first, "nst-numpy" in second) == (True, False)
    host.requirements.write_text("nst-painter\nNST_numpy >= 2\n")
    first, second = uv.split_lock(host.lock()["lock"])
    assert "nst-torch==1.1+cpu" in first
    assert ("nst-numpy" in first, "nst-numpy==2.0" in second) == (False, True)


def test_replaced_wheel_of_the_same_name_is_refused(host: Host) -> None:
    lock = host.lock()["lock"]
    wheel(host.all, "nst-extra", "1.0", more={"nst_extra/evil.py": "1"})
    answer = host.keep(lock)
    assert answer["failed"]
    assert "nst-extra" in answer["msg"]
    assert "ash" in answer["msg"]
    assert not host.venv.exists()


def test_source_packages_are_built_only_where_they_are_named(host: Host) -> None:
    sdist(host.all, "nst-built", "1.0")
    host.requirements.write_text("nst-built\n")
    assert "nst-built" in host.lock()["msg"]
    lock = host.lock(allow_source=["nst-built"])["lock"]
    assert host.keep(lock)["failed"]
    assert host.keep(lock, allow_source=["nst-built"])["changed"]
    assert host.has("import nst_built; print(nst_built.version)") == "1.0"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--extra-index-url https://evil.example/simple", "option of pip's"),
        ("nst-extra --hash=sha256:0", "option of pip's"),
        ("nst-extra @ https://evil.example/x.whl", "address instead"),
        ("git+https://evil.example/x.git", "address instead"),
    ],
)
def test_options_in_requirements_of_nodes_are_refused(host: Host, line: str, message: str) -> None:
    host.requirements.write_text(f"nst-painter\n{line}\n")
    assert message in host.lock()["msg"]


def test_lock_accepts_only_versions_and_hashes() -> None:
    with pytest.raises(Exception, match="not written down for other hosts"):
        package_lock.format_lock("kind", "0" * 64, "torch @ https://evil.example/torch.whl\n")


def test_missing_requirements_file_is_named(host: Host) -> None:
    host.requirements.unlink()
    assert str(host.requirements) in host.lock()["msg"]


def test_missing_interpreter_is_named(host: Host) -> None:
    assert "no-such-python cannot be run" in host.keep("x", python="no-such-python")["msg"]


def test_wheel_is_installed_with_its_own_lock(host: Host) -> None:
    first, second = uv.split_lock(host.lock()["lock"])
    shutil.copytree(host.gpu / "nst-torch", host.all / "nst-torch", dirs_exist_ok=True)
    lock = first + second
    made = wheel(host.programs / "wheels", "nst-backend", "1.0", more={"nst_backend/requirements.lock": lock})
    sha256 = hashlib.sha256(made.read_bytes()).hexdigest()
    host.venv = host.programs / "backend" / "1.0" / "venv"
    arguments: dict[str, Any] = {"wheel": str(made), "wheel_lock": "nst_backend/requirements.lock"}
    arguments["indexes"] = [host.all.as_uri()]
    assert "is not what was sent" in host.keep(wheel_sha256="0" * 64, **arguments)["msg"]
    assert host.keep(wheel_sha256=sha256, **arguments)["changed"]
    assert host.has("import nst_backend, nst_torch; print(nst_torch.version)") == "1.0+cpu"


@root_only
def test_build_code_of_a_package_cannot_change_roots_files(host: Host, tmp_path: Path) -> None:
    """Let it run as the account, plant links, start a background process and set the set-user-ID bit of a program."""
    secret = tmp_path / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    pids = tmp_path / "pids"
    pids.mkdir()
    pids.chmod(0o777)
    runs = (
        "import os, subprocess\n"
        f"open({str(pids)!r} + '/uid', 'w').write(str(os.getuid()))\n"
        "child = subprocess.Popen(['sleep', '1000'], start_new_session=True, stdout=-3, stderr=-3)\n"
        f"open({str(pids)!r} + '/pid', 'w').write(str(child.pid))\n"
        "home = os.environ['HOME']\n"
        "for name in ('requirements.txt', 'resolved-1.txt', 'constraints.txt'):\n"
        "    try:\n"
        f"        os.remove(home + '/' + name); os.symlink({str(secret)!r}, home + '/' + name)\n"
        "    except OSError: pass\n"
        "program = home + '/venv/bin/helper'\n"
        "try:\n"
        "    open(program, 'w').write('x'); os.chmod(program, 0o4777)\n"
        "except OSError: pass\n"
    )
    sdist(host.all, "nst-built", "1.0", runs=runs)
    host.requirements.write_text("nst-built\n")
    host.account = BUILDER
    python = "/usr/bin/python3"  # the interpreter of this test may lie in a user's home
    lock = host.lock(allow_source=["nst-built"], reader="root", python=python)["lock"]
    answer = host.keep(lock, allow_source=["nst-built"], python=python)
    assert answer["changed"], answer
    assert (pids / "uid").read_text() != "0"
    assert not is_alive(int((pids / "pid").read_text()))
    assert secret.read_text() == "root's"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    for path in [host.venv, *host.venv.rglob("*")]:
        about = path.lstat()
        assert (about.st_uid, about.st_gid) == (0, 0)
        assert path.is_symlink() or not about.st_mode & 0o7022
    helper = host.venv / "bin" / "helper"
    assert stat.S_IMODE(helper.stat().st_mode) == 0o755
    assert os.listdir(host.programs / ".build") == [".lock"]


@root_only
def test_environment_of_an_account_is_replaced_and_not_run(host: Host, tmp_path: Path) -> None:
    """Test an environment of an earlier version, with links that its account planted."""
    lock = host.lock()["lock"]
    host.keep(lock)
    ran = tmp_path / "ran"
    (host.venv / "bin/python").unlink()
    (host.venv / "bin/python").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (host.venv / "bin/python").chmod(0o755)
    (host.venv / ".tmp").symlink_to(tmp_path / "inventory")
    os.chown(host.venv, 61234, 61234)
    before = sorted(os.listdir(tmp_path / "inventory"))
    assert host.keep(lock)["changed"]
    assert host.has("import nst_torch; print(nst_torch.version)") == "1.0+cpu"
    assert not ran.exists()
    assert host.venv.stat().st_uid == 0
    assert sorted(os.listdir(tmp_path / "inventory")) == before


def test_allowed_install_script_runs_in_a_copy_before_the_environment_is_roots(tmp_path: Path, tool: Path) -> None:
    host = Host(tmp_path, tool)
    node = tmp_path / "node"
    node.mkdir()
    (node / "install.py").write_text(
        "import pathlib, sysconfig\n"
        "pathlib.Path(sysconfig.get_path('purelib'), 'made.py').write_text('answer = 42')\n"
        "pathlib.Path('beside').write_text('')\n"
    )
    lock = host.lock()["lock"]
    scripts: dict[str, Any] = {"install_scripts": {"painter": str(node)}, "reader": host.account}
    assert host.keep(lock, **scripts)["changed"]
    assert host.has("import made; print(made.answer)") == "42"
    assert os.listdir(node) == ["install.py"]
    assert host.keep(lock, **scripts)["changed"] is False

    (node / "install.py").write_text("raise SystemExit('no compiler here')")
    moved = {"painter": str(node.rename(tmp_path / "newer"))}
    assert "no compiler here" in host.keep(lock, **{**scripts, "install_scripts": moved})["msg"]
    assert host.has("import made; print(made.answer)") == "42"
