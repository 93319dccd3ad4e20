"""Run a module of the collection as Ansible does, in a process of its own, and return its answer."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

from ansible.module_utils import _internal, basic

#: Audit events of calls that change a directory (sys.addaudithook).
CHANGES = frozenset({"os.rename", "os.symlink", "os.link", "os.mkdir", "os.remove", "os.chmod", "os.utime"})


class Fault:
    """A fault in the module's process just before its n-th change of a directory; never for 0."""

    def __init__(self, number: int, happens: Callable[[], object], events: frozenset[str] = CHANGES) -> None:
        self.number = number
        self.happens = happens
        self.events = events
        self.count = 0

    def __call__(self, event: str, _: tuple[object, ...]) -> None:
        if event in self.events:
            self.count += 1
            if self.count == self.number:
                self.happens()


def die() -> None:
    """Kill this process."""
    os._exit(9)


def break_disk() -> None:
    """Let the call fail."""
    raise OSError(5, "Input/output error")


def run_module(
    name: str, arguments: dict[str, Any], *, check: bool = False, fault: Fault | None = None
) -> dict[str, Any]:
    """Run the module and return its answer, with the number of ``changes`` where a fault counted them.

    For a process that ends without an answer, returns ``{"died": its exit code}``.
    """
    module = importlib.import_module(f"ansible_collections.noslop.studio.plugins.modules.{name}")
    arguments_json = json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check}}).encode()
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as errors:
        pid = os.fork()
        if pid == 0:
            _run(module.main, arguments_json, answer.fileno(), errors.fileno(), fault)
        _, status = os.waitpid(pid, 0)
        answer.seek(0)
        text = answer.read()
        errors.seek(0)
        if not text.strip():
            return {"died": os.waitstatus_to_exitcode(status), "stderr": errors.read().decode()}
    lines = text.decode().strip().splitlines()
    result: dict[str, Any] = {}
    for line in lines:
        result.update(json.loads(line))
    return result


def _run(main: Callable[[], None], arguments_json: bytes, answer: int, errors: int, fault: Fault | None) -> None:
    """Run the module in the worker process, and never return to the test."""
    try:
        os.dup2(answer, 1)
        os.dup2(errors, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        _internal.is_controller = False  # another test may have loaded packages that only the controller has
        basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = arguments_json, "legacy"
        if fault is not None:
            sys.addaudithook(fault)
        try:
            main()
        except SystemExit:
            pass
        except BaseException:
            traceback.print_exc()
        if fault is not None:
            print(json.dumps({"changes": fault.count}))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(0)
