# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a media file holds, found out by decoding it: in a child process that may use little and can reach nothing.

Decoders are large, and media are somebody else's bytes. A bomb, a hang or a crash costs the child its life and the file
its facts; it never costs the service anything. The child is `child.py`, and it alone imports decoders.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

#: A child that says more than this says nonsense.
ANSWER_LIMIT_BYTES = 64 * 1024
#: How often `alive` is called while a child works, at least.
_STEP_S = 1.0
MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """What one child gets: address space in bytes, processor time, and time on the wall, in seconds.

    After `budget_s` of processor time it stops at the next frame, and tells what it has seen by then.
    """

    memory_bytes: int = 2048 * MIB
    cpu_s: int = 60
    budget_s: float = 30.0
    wall_s: float = 120.0


def facts(
    stream: BinaryIO, content_type: str, limits: Limits | None = None, alive: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Decode an image, a video or audio, and tell what it is.

    Args:
        stream: the file, open for reading as an ordinary file. Where it stands afterwards is not said.
        content_type: what its first bytes say that it is, as in `media_types`.
        limits: what the child gets.
        alive: called every second or so; what it raises ends the child and is raised here.

    Returns:
        `decoded` (bool) always. As far as they were seen: `format`, `width` and `height` in pixels, `frames`,
        `duration_s`, `fps`, `codec`, `audio` (`codec`, `sample_rate`, `channels`), `complete` (False: the time was
        over before the end), and `problem`, a sentence that says why it could not be decoded, or not all of it.
    """
    given = limits or Limits()
    command = [
        *(sys.executable, "-I", "-m", f"{__name__}.child"),
        *(str(os.getpid()), content_type, str(given.memory_bytes), str(given.cpu_s), str(given.budget_s)),
    ]
    # Nothing of this process goes along: no descriptor but the file, no variable of the environment.
    with subprocess.Popen(
        command,
        stdin=stream.fileno(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        start_new_session=True,
    ) as child:
        try:
            said = _hear(child, given, alive)
        finally:
            child.kill()
    if said is None:
        return _failed(f"decoding it did not end within {given.wall_s:g} s")
    return _understood(said, child.returncode, given)


def _hear(child: subprocess.Popen[bytes], limits: Limits, alive: Callable[[], None]) -> bytes | None:
    """Give what the child says until it ends, or None when its time is over. Waits for its end."""
    assert child.stdout is not None
    until, said = time.monotonic() + limits.wall_s, b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while (left := until - time.monotonic()) > 0:
            alive()
            if not selector.select(min(left, _STEP_S)):
                continue
            piece = os.read(child.stdout.fileno(), ANSWER_LIMIT_BYTES)
            said += piece
            if len(said) > ANSWER_LIMIT_BYTES:
                return said
            if not piece:
                try:
                    child.wait(max(0.0, until - time.monotonic()))
                except subprocess.TimeoutExpired:
                    return None
                return said
    return None


def _understood(said: bytes, code: int, limits: Limits) -> dict[str, Any]:
    if code == 0 and len(said) <= ANSWER_LIMIT_BYTES:
        try:
            found = json.loads(said)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict) and isinstance(found.get("decoded"), bool):
            return found
    if code == -signal.SIGXCPU:
        return _failed(f"decoding it took more than {limits.cpu_s} s of processor time")
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return _failed(f"the decoder crashed ({name})")
    return _failed(f"the decoder gave no usable answer (it ended with {code})")


def _failed(why: str) -> dict[str, Any]:
    return {"decoded": False, "problem": f"could not be decoded: {why}"}
