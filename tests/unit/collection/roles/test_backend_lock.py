"""Test that the lock in the backend's wheel has wheels for the processors of hosts."""

from __future__ import annotations

from pathlib import Path

import noslop_backend

from tests.lint.package_locks import blocks_of

BLOCKS = blocks_of(Path(noslop_backend.__file__).with_name("requirements.lock").read_text("utf-8"))


def test_lock_has_wheels_for_both_architectures() -> None:
    """Test psycopg-binary, pydantic-core and av, which are compiled for x86_64, for aarch64 and others."""
    for name in ("pydantic-core", "av", "psycopg-binary"):
        entries = [block for block in BLOCKS if block.startswith(f"{name}==")]
        assert entries, name
        assert all(block.count("--hash") > 5 for block in entries), name
