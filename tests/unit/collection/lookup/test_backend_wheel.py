"""Test the search for the wheel that the role studio_backend installs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.lookup import backend_wheel
from ansible_collections.noslop.studio.plugins.lookup.backend_wheel import WheelError, describe, find

WHEEL = "noslop_backend-0.1.0-py3-none-any.whl"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout with the backend's source, older than every other file."""
    for name in ("pyproject.toml", "noslop_backend/__init__.py", "noslop_backend/migrations/script.py.mako"):
        path = tmp_path / "backend" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        os.utime(path, (1000, 1000))
    return tmp_path


def collection_of(checkout: Path) -> Path:
    return checkout / "collections/ansible_collections/noslop/studio"


def put(path: Path, when: int = 2000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a wheel")
    os.utime(path, (when, when))
    return path


def test_bundled_wheel_comes_first(checkout: Path) -> None:
    put(checkout / "dist" / WHEEL)
    bundled = put(collection_of(checkout) / "roles/studio_backend/files" / WHEEL)

    assert find(collection_of(checkout), checkout) == bundled


def test_two_bundled_wheels_are_refused(checkout: Path) -> None:
    for version in ("0.1.0", "0.2.0"):
        put(collection_of(checkout) / "roles/studio_backend/files" / WHEEL.replace("0.1.0", version))

    with pytest.raises(WheelError, match="holds 2 wheels"):
        find(collection_of(checkout), checkout)


def test_checkout_uses_newest_wheel(checkout: Path) -> None:
    put(checkout / "dist" / WHEEL)
    newer = put(checkout / "dist" / WHEEL.replace("0.1.0", "0.0.9"), 3000)
    put(checkout / "dist/noslop-0.1.0-py3-none-any.whl", 4000)

    assert find(collection_of(checkout), checkout) == newer


@pytest.mark.parametrize("changed", ["pyproject.toml", "noslop_backend/migrations/script.py.mako"])
def test_wheel_older_than_its_source_is_refused(checkout: Path, changed: str) -> None:
    put(checkout / "dist" / WHEEL)
    os.utime(checkout / "backend" / changed, (2001, 2001))

    with pytest.raises(WheelError, match=rf"older than backend/{changed}: run `make backend-wheel`"):
        find(collection_of(checkout), checkout)


def test_compiled_files_do_not_count_as_source(checkout: Path) -> None:
    put(checkout / "backend/noslop_backend/__pycache__/x.cpython-311.pyc", 3000)
    wheel = put(checkout / "dist" / WHEEL)

    assert find(collection_of(checkout), checkout) == wheel


def test_checkout_without_wheel_names_the_build_command(checkout: Path) -> None:
    with pytest.raises(WheelError, match="not built yet: run `make backend-wheel`"):
        find(collection_of(checkout), checkout)


def test_collection_without_wheel_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(WheelError, match="came without the backend's wheel"):
        find(collection_of(tmp_path), tmp_path)


def test_wheel_is_described_by_its_hash(tmp_path: Path) -> None:
    wheel = put(tmp_path / "noslop_backend-1.2.3.dev4-py3-none-any.whl")

    assert describe(wheel) == {
        "path": str(wheel),
        "version": "1.2.3.dev4",
        "sha256": hashlib.sha256(b"a wheel").hexdigest(),
    }


def test_other_wheels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WheelError, match="not called like a wheel of noslop-backend"):
        describe(put(tmp_path / "requests-2.0-py3-none-any.whl"))
    with pytest.raises(WheelError, match="cannot be read: No such file"):
        describe(tmp_path / WHEEL)


def test_checkout_is_the_root_of_this_repository() -> None:
    assert (backend_wheel.COLLECTION / "galaxy.yml").is_file()
    assert (backend_wheel.CHECKOUT / "backend/pyproject.toml").is_file()
