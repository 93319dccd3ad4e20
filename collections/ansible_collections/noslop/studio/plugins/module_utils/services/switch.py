# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch a service to another version, prove that it works, and put the version before it back where it does not.

The unit file decides which version runs: it names the directories of the program and its packages, which lie beside
those of the other version, and the database of that version. So there is one step, the rename of the unit file, and
going back is the same step. While a version is not proven, a record has the unit file of the version before it; the
next run finds the record, and goes on from there.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import format_gigabytes
from ansible_collections.noslop.studio.plugins.module_utils.host import safe_paths, written_files
from ansible_collections.noslop.studio.plugins.module_utils.host.version_numbers import is_older
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account, run_one
from ansible_collections.noslop.studio.plugins.module_utils.install import release_dir
from ansible_collections.noslop.studio.plugins.module_utils.services import copies, unit_text
from ansible_collections.noslop.studio.plugins.module_utils.services.proof import (
    Baseline,
    ComfyuiProof,
    OllamaProof,
    read_baseline,
)
from ansible_collections.noslop.studio.plugins.module_utils.services.web_unit import ServiceError, WebUnit

RECORD = "switch.json"
LOCK = "lock"
UNIT_LIMIT_BYTES = 1024 * 1024
_POLL_S = 2.0
#: Seconds that a copy of a user directory may take.
_COPY_S = 3600.0
#: Bytes that stay free beside a copy.
_ROOM_BYTES = 64 * 1024 * 1024


class Interrupted(BaseException):  # no error: the run was told to end
    """The run was told to end. Not an Exception, which Ansible's ``run_command`` would catch."""


@dataclass(frozen=True)
class Request:
    """A version that is to run.

    Attributes:
        title: the service, for messages.
        content: the unit file.
        base: directory of the version directories.
        version: name of the version directory.
        state_directory: directory of the service's account, with ``user`` in it; empty when there is nothing to copy.
        account: the account that owns it.
        proof_timeout_s: seconds for the proof, beside those until the service answers.
        busy_timeout_s: seconds to wait until nothing runs; 0 does not wait.
    """

    title: str
    content: str
    base: str
    version: str
    state_directory: str
    account: Account | None
    proof_timeout_s: float
    busy_timeout_s: float


@dataclass(frozen=True)
class _Record:
    """A switch that is not proven. ``unit`` is the unit file of the version before it, empty for a first install."""

    unit: str
    baseline: Baseline
    started: str
    copied_database: str = ""


@dataclass
class Result:
    """Outcome of a switch: unit files ``before`` and ``after``; ``switched_from`` is a version where it is another."""

    changed: bool
    before: str
    after: str
    switched_from: str = ""
    copy: str = ""


class Switch:
    """The unit of one service, and its versions."""

    def __init__(self, unit: WebUnit, request: Request, proof: OllamaProof | ComfyuiProof, directory: str) -> None:
        self._unit = unit
        self._request = request
        self._proof = proof
        self._directory = os.path.join(directory, unit.name)
        self._check_mode = bool(unit.module.check_mode)

    def run(self, restart: bool) -> Result:
        """Have the wanted version run. A version that is another than the last proven one is proven first.

        Waits for a run that is still at work here, such as one whose connection to the controller broke.

        Args:
            restart: whether something that the unit reads has changed.

        Raises:
            ServiceError: it does not run. Where another version ran before, that one runs again.
        """
        if self._check_mode:
            return self._run(restart)
        safe_paths.make_directory(self._directory, os.geteuid(), os.getegid(), 0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(os.path.join(self._directory, LOCK), flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return self._run(restart)
        finally:
            os.close(lock)

    def _run(self, restart: bool) -> Result:
        current = _read_text(self._unit.unit_file)
        record = self._read_record()
        origin = record.unit if record else current
        is_other = unit_text.find_programs(origin, self._request.base) != unit_text.find_programs(
            self._request.content, self._request.base
        )
        result = Result(current != self._request.content, current, self._request.content)
        if is_other:
            result.changed = True
            result.switched_from = unit_text.find_version(origin, self._request.base)
        if self._check_mode:
            # A unit that is written first would be reloaded and restarted: nothing can be asked of it now.
            return result
        if is_other:
            result.copy = self._switch(record, origin, current)
        else:
            self._write_unit(current, self._request.content)
            self._unit.ensure_running(restart or result.changed or record is not None)
            self._remove_record()
        result.changed |= self._point_links()
        result.changed |= bool(self._unit.actions)
        return result

    def _switch(self, record: _Record | None, origin: str, current: str) -> str:
        """Switch to the wanted version and prove it, or go back. Returns the path of the copy of the user directory."""
        copy = ""
        if record is None:
            if origin:
                self._wait_until_idle()
            baseline = self._proof.record(self._unit.read_journal()) if self._unit.answers() else Baseline()
            record = _Record(origin, baseline, time.strftime("%Y-%m-%dT%H%M%S"))
        if origin and self._request.state_directory:
            record, copy = self._copy_state(record)
        self._write_record(record)
        try:
            self._unit.record_restart()
            self._write_unit(current, self._request.content)
            self._unit.reset_start_limit()
            self._unit.ensure_running(restart=current != self._request.content)
            problem = self._proof.find_problem(record.baseline, self._unit.read_journal, self._request.proof_timeout_s)
            if problem:
                problem = f"{problem}.\nThe end of its journal:\n{self._unit.end_of_journal()}"
        except ServiceError as error:
            problem = str(error)
        except Interrupted:
            self._go_back(record, "the run was told to end")
            raise
        if problem:
            self._go_back(record, problem)
        self._remove_record()
        self._prune_databases()
        return copy

    def _go_back(self, record: _Record, problem: str) -> None:
        """Put the version before back, and raise the reason."""
        name = f"{self._request.title} {self._request.version}"
        if not record.unit:
            raise ServiceError(f"{name} does not work: {problem}")
        origin = unit_text.find_version(record.unit, self._request.base) or "the version before"
        if origin == self._request.version:
            name, origin = f"{name} with its new packages", f"{origin} with the packages before"
        self._write_unit(_read_text(self._unit.unit_file), record.unit)
        self._unit.reset_start_limit()
        outcome = f"{origin} serves again"
        try:
            self._unit.ensure_running(restart=True)
        except ServiceError as error:
            outcome = f"{origin} was put back, but does not answer either: {error}"
        if record.copied_database:
            database = record.copied_database
            self._run_as_account(lambda: copies.remove_database(database))
        self._remove_record()
        raise ServiceError(f"{name} was not kept, and {outcome}. The reason: {problem}")

    def _wait_until_idle(self) -> None:
        deadline = time.monotonic() + self._request.busy_timeout_s
        while self._request.busy_timeout_s > 0 and (running := self._proof.count_running()):
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{self._request.title} was not switched to {self._request.version}, and nothing was changed: "
                    f"{running} workflows run or wait on this host, and a restart would lose them. Run again when they "
                    "have ended, or set comfyui_busy_timeout to 0."
                )
            time.sleep(_POLL_S)

    def _copy_state(self, record: _Record) -> tuple[_Record, str]:
        """Copy the database, and for another version the user directory, whose copy's path is returned beside."""
        old, new = unit_text.find_database(record.unit), unit_text.find_database(self._request.content)
        user = os.path.join(self._request.state_directory, "user")
        origin = unit_text.find_version(record.unit, self._request.base)

        def copy() -> tuple[bool, str]:
            needed = release_dir.measure(user) + _ROOM_BYTES
            free = shutil.disk_usage(self._request.state_directory).free
            if needed > free:
                raise ServiceError(
                    f"{self._request.state_directory} has {format_gigabytes(free)} free, and a copy of {user} needs "
                    f"{format_gigabytes(needed)}. Make room. Nothing was changed."
                )
            made = ""
            if origin != self._request.version:
                names = [os.path.basename(path) for path in _list_databases(user)]
                directory = os.path.join(self._request.state_directory, "copies")
                made = copies.copy_directory(user, directory, f"{origin or 'before'}-{record.started}", names)
            # An older version cannot open what a newer one has migrated: it begins with an empty database.
            is_copied = bool(old and new and old != new) and not is_older(self._request.version, origin)
            return is_copied and copies.copy_database(old, new), made

        if not os.path.isdir(user):
            return record, ""
        copied, path = self._run_as_account(copy)
        return _Record(record.unit, record.baseline, record.started, new if copied else record.copied_database), path

    def _prune_databases(self) -> None:
        current = unit_text.find_database(self._request.content)
        if not current:
            return
        directory = os.path.dirname(current)
        self._run_as_account(lambda: copies.prune_databases(current, _list_databases(directory)))

    def _run_as_account(self, work: Callable[[], Any]) -> Any:
        outcome = run_one(work, self._request.account, _COPY_S)
        if outcome.error:
            raise ServiceError(
                f"The state of {self._request.title} in {self._request.state_directory} cannot be copied: "
                f"{outcome.error.removeprefix('ServiceError: ')} Nothing was switched."
            )
        return outcome.value

    def _point_links(self) -> bool:
        return release_dir.make_current(self._request.base, self._request.version)

    def _write_unit(self, current: str, content: str) -> None:
        encoded = content.encode(errors="surrogateescape")
        written_files.update({self._unit.unit_file: written_files.digest(encoded)})
        if current == content:
            return
        directory, name = os.path.split(self._unit.unit_file)
        descriptor = safe_paths.open_directory(directory)
        try:
            safe_paths.write_file(descriptor, name, encoded, os.geteuid(), os.getegid(), 0o644)
        finally:
            os.close(descriptor)
        self._unit.module.set_default_selinux_context(self._unit.unit_file, False)

    def _read_record(self) -> _Record | None:
        try:
            content = json.loads(safe_paths.read_file(os.path.join(self._directory, RECORD), UNIT_LIMIT_BYTES))
        except (OSError, ValueError):
            return None
        return _Record(
            unit=str(content["unit"]),
            baseline=read_baseline(content["baseline"]),
            started=str(content["started"]),
            copied_database=str(content["copied_database"]),
        )

    def _write_record(self, record: _Record) -> None:
        content = {
            "unit": record.unit,
            "baseline": record.baseline.as_json(),
            "started": record.started,
            "copied_database": record.copied_database,
        }
        descriptor = safe_paths.open_directory(self._directory)
        try:
            text = json.dumps(content, indent=1) + "\n"
            safe_paths.write_file(descriptor, RECORD, text.encode(), os.geteuid(), os.getegid(), 0o600)
        finally:
            os.close(descriptor)

    def _remove_record(self) -> None:
        safe_paths.remove_tree(os.path.join(self._directory, RECORD))


def _list_databases(directory: str) -> list[str]:
    """Return the paths of ComfyUI's databases in a user directory."""
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    return [os.path.join(directory, name) for name in names if re.fullmatch(r"comfyui\S*\.db", name)]


def _read_text(path: str) -> str:
    try:
        return safe_paths.read_file(path, UNIT_LIMIT_BYTES).decode(errors="surrogateescape")
    except FileNotFoundError:
        return ""
