"""Test that uv is installed by its hash, and uses the host's settings of pip."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes
from ansible_collections.noslop.studio.plugins.module_utils.install import builds, uv
from uv import find_uv_bin

from tests.support.package_index import wheel


def test_host_settings_of_pip_become_settings_of_uv(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://mirror.example/simple\ncert = /etc/ssl/own.pem\n"
        "extra-index-url =\n  https://one.example/simple\n  https://two.example/simple\n"
        "[install]\ntrusted-host = mirror.example one.example\nfind-links = /opt/wheels /opt/more\n"
    )
    settings = uv.read_pip_settings({"PIP_CERT": "/etc/ssl/other.pem"}, [str(tmp_path / "pip.conf")])
    environment = uv.make_uv_environment(settings)
    assert environment["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert environment["UV_INDEX"] == "https://one.example/simple https://two.example/simple"
    assert environment["UV_INSECURE_HOST"] == "mirror.example one.example"
    assert environment["UV_FIND_LINKS"] == "/opt/wheels,/opt/more"
    assert environment["SSL_CERT_FILE"] == "/etc/ssl/other.pem"  # the environment wins, as in pip


def test_pip_config_file_devnull_disables_the_files(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://mirror.example/simple\n")
    assert uv.read_pip_settings({"PIP_CONFIG_FILE": os.devnull}, [str(tmp_path / "pip.conf")]) == {}


def test_uv_is_installed_by_its_hash_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "index").as_uri())
    script = f"uv-{uv.VERSION}.data/scripts/uv"
    made = wheel(tmp_path / "index", "uv", uv.VERSION, more={script: "#!/bin/sh\necho the program\n"})
    sha256 = hashlib.sha256(made.read_bytes()).hexdigest()
    programs, account = str(tmp_path / "programs"), worker_processes.Account(os.geteuid(), os.getegid())
    python = uv.inspect_interpreter(sys.executable)
    with builds.building(programs, account) as build:
        with pytest.raises(builds.BuildError, match=r"uv .* cannot be had"):
            uv.install_uv(build, programs, python, pinned=["0" * 64])
        program = uv.install_uv(build, programs, python, pinned=[sha256])
        assert build.run([program])[1] == "the program\n"
        made.unlink()
        assert uv.install_uv(build, programs, python, pinned=[sha256]) == program
    assert os.listdir(tmp_path / "programs" / builds.BUILD) == [".lock"]


def test_python_without_pip_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test a Python as on Debian, where python3-venv is a separate package."""
    programs, account = str(tmp_path / "programs"), worker_processes.Account(os.geteuid(), os.getegid())
    with (
        builds.building(programs, account) as build,
        pytest.raises(builds.BuildError, match="apt install python3-venv"),
    ):
        uv.install_uv(build, programs, uv.Interpreter("3.11", "x86_64", sys.executable, ""))


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        (
            ("nst-numbers<2", "nst-brush"),
            ["The inventory wants nst-numbers>=2", "The custom node painter wants nst-numbers<2"],
        ),
        (("nst-brush", "nst-old"), ["The inventory wants nst-numbers>=2", "The custom node painter wants nst-old"]),
        (("nst-torch<1",), ["The inventory wants nst-torch", "The custom node painter wants nst-torch<1"]),
    ],
)
def test_contradiction_names_packages_and_what_wants_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: tuple[str, ...], lines: list[str]
) -> None:
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    index = tmp_path / "index"
    for version in ("1.0", "2.0"):
        wheel(index, "nst-numbers", version)
        wheel(index, "nst-torch", version)
    wheel(index, "nst-brush", "1.0")
    wheel(index, "nst-old", "1.0", needs="nst-numbers<2")
    first = uv.Step(("nst-torch",), index.as_uri(), ("The inventory",))
    origins = ("The inventory", *(["The custom node painter"] * len(wanted)))
    second = uv.Step(("nst-numbers>=2", *wanted), index.as_uri(), origins)
    account = worker_processes.Account(os.geteuid(), os.getegid())

    with builds.building(str(tmp_path / "programs"), account) as build, pytest.raises(builds.BuildError) as raised:
        uv.Uv(build, find_uv_bin(), uv.inspect_interpreter(sys.executable), []).resolve([first, second])

    assert "contradict each other" in str(raised.value)
    assert [line for line in str(raised.value).splitlines() if " wants " in line] == lines
