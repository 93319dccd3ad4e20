# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill a fetch before each of its calls of the system: nothing wrong is ever visible, and the next run goes on."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import BuiltinFunctionType, FrameType

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.models import fetch, part_file
from ansible_collections.noslop.studio.plugins.module_utils.models.fetch import Transfer, Wanted

from tests.support.model_server import make_safetensors, serving_models

NAME = "loras/model.safetensors"
CONTENT = make_safetensors(40_000, "model")
#: Every fifth call; NOSLOP_EVERY=1 takes them all.
EVERY = int(os.environ.get("NOSLOP_EVERY", "5"))
MODULES = ("posix", "_socket", "_io", "select", "fcntl")


def fetch_until_call(number: int, wanted: Wanted, share: Path) -> bool:
    """Fetch in a process that is killed before its call of this number. Return whether it was."""
    pid = os.fork()
    if pid == 0:
        count = 0

        def watch(_frame: FrameType, event: str, called: object) -> None:
            nonlocal count
            if event == "c_call" and isinstance(called, BuiltinFunctionType):
                owner = called.__module__ or type(called.__self__).__module__
                count += owner in MODULES
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.setprofile(watch)
            fetch.fetch(wanted, str(share), Transfer())
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def test_kill_before_every_call_loses_little_and_shows_nothing_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_file, "SYNC_BYTES", 15_000)
    monkeypatch.setattr(fetch, "BLOCK_BYTES", 8192)
    number = 0
    with serving_models() as server:
        server.add("model", CONTENT)
        while True:
            number += EVERY
            share = tmp_path / str(number)
            share.mkdir()
            wanted = Wanted(NAME, server.url("model"))
            killed = fetch_until_call(number, wanted, share)
            # Without a checksum: what is visible must be right by itself.
            visible = share / NAME
            assert not visible.exists() or visible.read_bytes() == CONTENT, number
            if killed:
                assert fetch.fetch(wanted, str(share), Transfer()).size == len(CONTENT)
            assert visible.read_bytes() == CONTENT, number
            left = sorted(path.name for path in share.rglob("*") if path.is_file() and path != visible)
            assert left == [], number
            if not killed:
                break
    assert number > 80
    # Each run by itself and the one after it: what was here was not fetched again but for the bytes on their way.
    assert server.sent["model"] < 1.9 * number / EVERY * len(CONTENT)
