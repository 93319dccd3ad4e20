# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the mirror, serve it, and install what it serves."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import STANDINS, Daemon, check_success, run


@pytest.fixture(scope="session")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a mirror."""
    out = tmp_path_factory.mktemp("standins") / "mirror"
    check_success(run(sys.executable, STANDINS / "build.py", out))
    return out


@pytest.fixture(scope="session")
def manifest(mirror: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((mirror / "manifest.json").read_text())
    return content


@pytest.fixture(scope="session")
def server(mirror: Path) -> Iterator[Daemon]:
    """Serve the mirror on a free port."""
    command = [sys.executable, str(STANDINS / "serve.py"), "--port", "0", "--root", str(mirror)]
    with Daemon(command, r"on http://127\.0\.0\.1:(\d+)/") as daemon:
        yield daemon


@pytest.fixture(scope="session")
def pip_env() -> dict[str, str]:
    """Return an environment in which pip uses only the index on its command line."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    return {**inherited, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_CACHE_DIR": "1"}


@pytest.fixture(scope="session")
def comfyui_tree(tmp_path_factory: pytest.TempPathFactory, server: Daemon) -> Path:
    """Clone the ComfyUI stand-in over plain HTTP. Without a tag that is the release that the manifest names."""
    tree = tmp_path_factory.mktemp("comfyui") / "clone"
    check_success(run("git", "clone", "--quiet", f"{server.url}/ComfyUI.git", tree))
    return tree


@pytest.fixture(scope="session")
def python(
    tmp_path_factory: pytest.TempPathFactory, server: Daemon, comfyui_tree: Path, pip_env: dict[str, str]
) -> Path:
    """Make a virtual environment as the role does, from the served indexes alone. Return its interpreter."""
    venv = tmp_path_factory.mktemp("venv") / "venv"
    check_success(run(sys.executable, "-m", "venv", venv))
    pip: list[str | Path] = [venv / "bin" / "pip", "install", "--quiet", "--index-url"]
    torch = ("torch", "torchvision", "torchaudio")
    check_success(run(*pip, f"{server.url}/whl/cpu/", *torch, env=pip_env))
    needed = ("-r", comfyui_tree / "requirements.txt", "requests")
    check_success(run(*pip, f"{server.url}/pypi/simple/", *needed, env=pip_env))
    return venv / "bin" / "python"
