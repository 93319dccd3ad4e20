"""An environment holds what its steps say, each from its own index, and is left alone while they stay the same."""

from __future__ import annotations

import base64
import getpass
import hashlib
import io
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.content.module_runner import run_module


def wheel(index: Path, name: str, version: str, needs: str = "") -> None:
    """Put a package into a PEP 503 index."""
    place = index / name
    place.mkdir(parents=True, exist_ok=True)
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    files = {
        f"{module}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + (f"Requires-Dist: {needs}\n" if needs else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip('=')},{len(text)}\n"
        for path, text in files.items()
    )
    with zipfile.ZipFile(place / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    links = "".join(f'<a href="{file.name}">{file.name}</a>\n' for file in place.glob("*.whl"))
    (place / "index.html").write_text(links)


def sdist(index: Path, name: str, version: str) -> None:
    """Put a package into an index that has to be built before it can be installed."""
    wheel(index, name, version)
    place = index / name
    (built,) = place.glob("*.whl")
    top = f"{name.replace('-', '_')}-{version}"
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        "pyproject.toml": b'[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["."]\n',
        "own.py": f"""import shutil
def build_wheel(directory, config_settings=None, metadata_directory=None):
    shutil.copy({built.name!r}, directory)
    return {built.name!r}
""".encode(),
        built.name: built.read_bytes(),
    }
    with tarfile.open(place / f"{top}.tar.gz", "w:gz") as archive:
        for path, content in files.items():
            about = tarfile.TarInfo(f"{top}/{path}")
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    built.unlink()
    (place / "index.html").write_text(f'<a href="{top}.tar.gz">{top}.tar.gz</a>\n')


class Host:
    """Two indexes: one that has torch for this host's GPU, and one that has everything else, and a newer torch."""

    def __init__(self, root: Path) -> None:
        self.gpu, self.all = root / "gpu", root / "all"
        self.venv = root / "venv"
        self.requirements = root / "requirements.txt"
        self.requirements.write_text("nst-painter\n")
        wheel(self.gpu, "nst-torch", "1.0+cpu")
        wheel(self.all, "nst-torch", "2.0")
        wheel(self.all, "nst-painter", "1.0", needs="nst-torch")
        wheel(self.all, "nst-extra", "1.0")

    def keep(self, *, check: bool = False, **more: object) -> dict[str, Any]:
        steps = [
            {"packages": ["nst-torch"], "index_url": self.gpu.as_uri()},
            {"packages": ["nst-extra"], "requirements": [str(self.requirements)], "index_url": self.all.as_uri()},
        ]
        arguments = {"path": str(self.venv), "steps": steps, "account": getpass.getuser(), **more}
        return run_module("python_venv", arguments, check=check)

    def has(self, program: str) -> str:
        done = subprocess.run([self.venv / "bin/python", "-c", program], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def pip(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.venv / "bin/pip", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # no index but ours
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return Host(tmp_path)


def test_it_is_filled_in_steps_and_then_left_alone(host: Host) -> None:
    """One story, because each environment takes seconds to make."""
    assert host.keep(check=True)["changed"]
    assert not host.venv.exists()

    host.requirements.write_text("nst-painter\nnst-new\n")
    assert "nst-new" in host.keep()["msg"]  # which no index has

    wheel(host.all, "nst-new", "1.0")
    answer = host.keep()
    assert answer["changed"]
    assert answer["versions"] == {"nst-torch": "1.0+cpu", "nst-extra": "1.0"}
    assert host.pip("--version").returncode == 0  # people and nodes add packages later
    assert host.pip("install", "--quiet", "--index-url", host.all.as_uri(), "nst-new").returncode == 0
    assert not (host.venv / ".tmp").exists()
    # The other index has a newer torch, and not for this GPU.
    assert host.has("import nst_new, nst_painter, nst_torch; print(nst_torch.version)") == "1.0+cpu"

    host.gpu.rename(host.gpu.with_name("gone"))  # nobody is asked while nothing changes
    assert not host.keep()["changed"]
    assert not host.keep(check=True)["changed"]
    host.requirements.write_text("nst-painter\n")
    assert host.keep(check=True)["changed"]

    host.gpu.with_name("gone").rename(host.gpu)
    (host.venv / "bin/pip").write_text("a newer one")  # which somebody put there since: it stays
    assert host.keep()["changed"]
    assert (host.venv / "bin/pip").read_text() == "a newer one"


def test_a_requirements_file_that_is_missing_is_named(host: Host) -> None:
    host.requirements.unlink()
    assert str(host.requirements) in host.keep()["msg"]
    assert host.keep(check=True)["changed"]


def test_an_interpreter_that_is_missing_is_named(host: Host) -> None:
    assert "no-such-python cannot be run" in host.keep(python="no-such-python")["msg"]


def test_an_environment_that_nobody_adds_to_needs_no_pip(host: Host) -> None:
    """A package that has to be built first is built all the same: pip calls itself for that."""
    sdist(host.all, "nst-built", "1.0")
    steps = [{"packages": ["nst-built"], "index_url": host.all.as_uri()}]
    assert host.keep(pip=False, steps=steps)["versions"] == {"nst-built": "1.0"}
    assert host.has("import nst_built; print(nst_built.version)") == "1.0"
    assert not list(host.venv.glob("bin/pip*"))
    assert host.has("import importlib.util as u; print(u.find_spec('pip'), u.find_spec('setuptools'))") == "None None"


def test_a_python_without_pip_is_told(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Debian, where python3-venv is a package of its own."""
    (tmp_path / "bare" / "ensurepip").mkdir(parents=True)
    (tmp_path / "bare" / "ensurepip" / "__init__.py").touch()
    (tmp_path / "bare" / "sitecustomize.py").write_text(
        "import sysconfig; sysconfig.get_config_vars()['WHEEL_PKG_DIR'] = None\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "bare"))
    assert "apt install python3-venv" in host.keep()["msg"]
