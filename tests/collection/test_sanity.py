# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the tarball passes `ansible-test sanity`, without a file of ignored problems."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from tests.support.tarball import ROOT, Installation

#: ansible-test keeps its virtual environments here for the next run, instead of in the user's home.
HOME = ROOT / ".ansible/sanity"
GET_PIP = Path(__file__).with_name("get_pip.py")


def find_pip_version() -> str:
    """Return the version of pip that the installed ansible-test asks for, such as 24.2."""
    spec = importlib.util.find_spec("ansible_test")
    assert spec
    assert spec.origin
    source = Path(spec.origin).with_name("_internal").joinpath("python_requirements.py").read_text("utf-8")
    (version,) = set(re.findall(r"\bpip='([0-9.]+)'", source))
    return str(version)


@pytest.mark.network
@pytest.mark.slow
def test_tarball_passes_every_sanity_test_without_an_ignored_problem(installation: Installation) -> None:
    cache = HOME / ".ansible/test/cache"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / f"get_pip_{find_pip_version().replace('.', '_')}.py").write_text(GET_PIP.read_text("utf-8"), "utf-8")
    assert not (installation.collection / "tests/sanity").exists()

    done = installation.run("ansible-test", "sanity", "--color", "no", home=HOME)
    assert done.returncode == 0, done.stdout
    tests = set(re.findall(r'^Running sanity test "([a-z0-9-]+)"', done.stdout, re.MULTILINE))
    assert {"ansible-doc", "changelog", "compile", "import", "no-assert", "pep8", "validate-modules"} <= tests
