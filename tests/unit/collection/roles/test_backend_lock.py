"""Test that the lock in the backend's wheel has all dependencies of the backend, by hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import noslop_backend
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(noslop_backend.__file__).with_name("requirements.lock")
PROJECT = tomllib.loads(Path(noslop_backend.__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
BLOCKS = re.findall(r"(?m)^[A-Za-z0-9].*\n(?:[ \t].*\n)*", LOCK.read_text())


@pytest.mark.parametrize("wanted", PROJECT["dependencies"] + PROJECT["optional-dependencies"]["postgresql"])
def test_dependencies_of_the_backend_are_locked(wanted: str) -> None:
    requirement = Requirement(wanted)
    pins = [Requirement(block.split(" \\")[0]) for block in BLOCKS]
    versions = [pin.specifier for pin in pins if canonicalize_name(pin.name) == canonicalize_name(requirement.name)]
    assert versions, "run: make lock"
    for version in versions:
        assert requirement.specifier.contains(str(version).removeprefix("==")), "run: make lock"


def test_every_package_has_hashes_and_no_address() -> None:
    assert len(BLOCKS) > 20
    for block in BLOCKS:
        assert "--hash=sha256:" in block
        assert "://" not in block


def test_lock_has_wheels_for_both_architectures() -> None:
    """Test psycopg-binary, pydantic-core and av, which are compiled for x86_64, for aarch64 and others."""
    for name in ("pydantic-core", "av", "psycopg-binary"):
        assert all(block.count("--hash") > 5 for block in BLOCKS if block.startswith(f"{name}==")), name
