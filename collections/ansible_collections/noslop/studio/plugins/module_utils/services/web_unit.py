# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start, restart and remove a systemd unit, and wait until it answers over HTTP."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host import processes, written_files
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import parse_properties

UNITS = "/etc/systemd/system"
#: Directory of markers of pending restarts. In memory, since a reboot starts the unit with the new program anyway.
PENDING_RESTARTS = "/run/noslop/restart"
HEADER = "Managed by NoSlop"
#: After so many restarts by systemd, the unit counts as failed.
MAX_RESTARTS = 5
JOURNAL_LINES = 15
_POLL_S = 0.5
_PROPERTIES = (
    *("LoadState", "ActiveState", "SubState", "UnitFileState", "NeedDaemonReload", "NRestarts", "Result"),
    "InvocationID",
)


class ServiceError(Exception):
    """A service does not run. The message is for the user who has to repair it."""


class WebUnit:
    """One unit. ``actions`` are the verbs of systemctl that were run, or would be in check mode.

    Args:
        module: the running module, for its commands and its check mode.
        name: the unit, with its suffix.
        url: address that it answers. Any status below 400 counts as an answer.
        timeout_s: seconds until it must answer.
    """

    def __init__(self, module: Any, name: str, url: str, timeout_s: float) -> None:
        self.module = module
        self.name = name
        self.url = url
        self.timeout_s = timeout_s
        self.unit_file = os.path.join(UNITS, name)
        self.actions: list[str] = []
        self._pending_restart = os.path.join(PENDING_RESTARTS, name)

    def ensure_running(self, restart: bool) -> None:
        """Enable, start or restart the unit, and wait for its answer.

        Args:
            restart: whether the program or its configuration has changed. A restart that an interrupted run did not
                make is made in any case.

        Raises:
            ServiceError: it does not run, or does not answer.
        """
        before = self.show()
        needs_restart = restart or before["NeedDaemonReload"] == "yes" or os.path.exists(self._pending_restart)
        is_active = before["ActiveState"] in ("active", "activating", "reloading")
        if needs_restart and is_active:
            self.record_restart()
        if before["NeedDaemonReload"] == "yes" or before["LoadState"] != "loaded":
            self._do("daemon-reload")
        if before["UnitFileState"] != "enabled":
            self._do("enable", self.name)
        if not is_active:
            self._require_free_port()
            if before["ActiveState"] == "failed":
                # A unit that reached its start limit cannot be started without it.
                self._do("reset-failed", self.name)
            self._do("start", self.name, may_fail=True)
        elif needs_restart:
            self._do("restart", self.name, may_fail=True)
        if not self.module.check_mode:
            self._wait()
            if os.path.exists(self._pending_restart):
                os.unlink(self._pending_restart)

    def record_restart(self) -> None:
        """Have the next run restart the unit, in case that this one is interrupted before it does."""
        if not self.module.check_mode:
            os.makedirs(PENDING_RESTARTS, mode=0o755, exist_ok=True)
            with open(self._pending_restart, "w", encoding="utf-8"):
                pass

    def remove(self) -> list[str]:
        """Stop and disable the unit, and remove its unit file. Returns the file where it is not NoSlop's and stays."""
        before = self.show()
        if before["UnitFileState"] == "enabled":
            self._do("disable", self.name)
        if before["ActiveState"] not in ("inactive", "failed"):
            self._do("stop", self.name)
        if not os.path.lexists(self.unit_file):
            return []
        if not self._is_ours():
            return [self.unit_file]
        self.actions.append(f"remove {self.unit_file}")
        if not self.module.check_mode:
            os.unlink(self.unit_file)
            written_files.update({self.unit_file: None})
            self._systemctl("daemon-reload")
            self._systemctl("reset-failed", self.name)
        return []

    def show(self) -> dict[str, str]:
        """Return the properties of the unit; a unit that does not exist is inactive."""
        properties = parse_properties(self._systemctl("show", "-p", ",".join(_PROPERTIES), self.name)[1])
        return {name: properties.get(name, "") for name in _PROPERTIES}

    def reset_start_limit(self) -> None:
        """Have systemd forget the starts that failed."""
        if not self.module.check_mode:
            self._systemctl("reset-failed", self.name)

    def answers(self) -> bool:
        """Return whether it answers now."""
        return not ask(self.url)

    def read_journal(self) -> list[str]:
        """Return the lines that the program has printed since its last start."""
        invocation = self.show()["InvocationID"]
        if not invocation:
            return []
        self.module.run_command(["journalctl", "--sync"])
        words = ["journalctl", "--no-pager", "--output=cat", f"_SYSTEMD_INVOCATION_ID={invocation}"]
        return str(self.module.run_command(words)[1]).splitlines()

    def end_of_journal(self) -> str:
        """Return the last lines of the unit's journal, with what systemd says of it."""
        words = ["journalctl", "--unit", self.name, "--lines", str(JOURNAL_LINES), "--no-pager", "--output", "cat"]
        return str(self.module.run_command(words)[1]).strip()

    def _do(self, *words: str, may_fail: bool = False) -> None:
        self.actions.append(words[0])
        if self.module.check_mode:
            return
        code, out, err = self._systemctl(*words)
        # A start may fail because a share is not available yet: Restart= tries again, and the wait below decides.
        if code != 0 and not may_fail:
            raise ServiceError(f"systemctl {' '.join(words)} failed: {(err or out).strip()}")

    def _wait(self) -> None:
        deadline = time.monotonic() + self.timeout_s
        restarts_before = int(self.show()["NRestarts"] or 0)
        while True:
            problem = ask(self.url)
            if not problem:
                return
            now = self.show()
            has_stopped = now["ActiveState"] in ("failed", "inactive")
            restarts = int(now["NRestarts"] or 0) - restarts_before
            if has_stopped or restarts >= MAX_RESTARTS or time.monotonic() > deadline:
                raise ServiceError(self._diagnose(problem, now))
            time.sleep(_POLL_S)

    def _diagnose(self, problem: str, now: dict[str, str]) -> str:
        state = f"{now['ActiveState']} ({now['SubState']}, {now['NRestarts'] or 0} restarts, result {now['Result']})"
        others = self._others_on_port()
        port_note = f"\nIts port is held by {', '.join(others)}." if others else ""
        return (
            f"{self.name} does not answer at {self.url}: {problem}. It is {state}.{port_note}\nThe end of its journal "
            f"(journalctl -u {self.name} shows all):\n{self.end_of_journal()}"
        )

    def _require_free_port(self) -> None:
        others = [] if self.module.check_mode else self._others_on_port()
        if others:
            raise ServiceError(
                f"{self.name} cannot start: port {self._port()} is held by {', '.join(others)}. Stop that, or choose "
                "another port, then run again."
            )

    def _others_on_port(self) -> list[str]:
        listeners = processes.find_listeners(self._port())
        return [
            process.describe() + (f", unit {process.unit}" if process.unit else "")
            for process in listeners
            if process.unit != self.name
        ]

    def _port(self) -> int:
        return urllib.parse.urlsplit(self.url).port or 80

    def _is_ours(self) -> bool:
        if os.path.islink(self.unit_file):
            return False
        with open(self.unit_file, encoding="utf-8", errors="replace") as stream:
            return HEADER in stream.read()

    def _systemctl(self, *words: str) -> tuple[int, str, str]:
        code, out, err = self.module.run_command(["systemctl", *words])
        return int(code), str(out), str(err)


def ask(url: str) -> str:
    """Request the URL once. Returns the problem, or an empty string."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy: the service is on this host
    try:
        with opener.open(url, timeout=10):
            return ""
    except urllib.error.HTTPError as error:
        return f"it answers {error.code} {error.reason}"
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
