# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start a process that works on for long, and read what it sends without waiting for it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host import worker_processes

Send = Callable[[Mapping[str, Any]], None]


@dataclass
class Child:
    """A process that sends lines of JSON through ``pipe``, which can be waited on."""

    pid: int
    pipe: int
    received: bytes = b""

    def read(self) -> list[dict[str, Any]] | None:
        """Return what it sent; ``None`` when it has ended. Waits where it sent nothing."""
        data = os.read(self.pipe, 65536)
        if not data:
            return None
        *lines, self.received = (self.received + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def end(self) -> None:
        """Collect its exit status, after it has ended."""
        os.close(self.pipe)
        os.waitpid(self.pid, 0)


def start(work: Callable[[Send], None], account: worker_processes.Account | None) -> Child:
    """Start a function in a process of an account.

    Args:
        work: gets the function that it sends with. An error ends the process, and is sent as ``ended``.
        account: the account; ``None`` does not change it.
    """
    read_end, write_end = os.pipe()

    def run() -> None:
        def send(value: Mapping[str, Any]) -> None:
            os.write(write_end, json.dumps(value).encode() + b"\n")

        try:
            work(send)
        except Exception as error:  # a message is the only way to report it: the process has no output
            send({"ended": f"{type(error).__name__}: {error}"})

    pid = worker_processes.start_detached(run, account, [write_end])
    os.close(write_end)
    return Child(pid, read_end)
