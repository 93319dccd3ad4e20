#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start or restart a systemd service, and wait until it answers over HTTP.

A handler's restart is lost with an interrupted run: the next run finds the files unchanged and leaves the old program
running. Three ordinary tasks are three round trips, and report no journal when the service does not answer.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: web_service
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Start or restart a systemd service, and wait until it answers over HTTP
description:
  - Enables a unit, starts it, restarts it where its unit file or its program changed, and waits until it answers. One
    call replaces a reload, a start, a handler and a wait.
  - The next run makes up for a restart that an interrupted run did not make.
  - When it does not answer, the error contains its state, the last lines of its journal, and other listeners on the
    port.
extends_documentation_fragment:
  - noslop.studio.attributes
attributes:
  check_mode:
    description: Returns what would be done. A unit that is not written yet counts as one to start.
    support: full
options:
  name:
    description: Name of the unit, with its suffix.
    type: str
    required: true
  url:
    description: URL to request. Any status below 400 counts as an answer.
    type: str
  restart:
    description: Whether the program or its configuration has changed.
    type: bool
    default: false
  timeout_s:
    description: Seconds until it must answer.
    type: int
    default: 180
  state:
    description: Desired state. C(absent) stops and disables it, and removes its unit file when NoSlop wrote it.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Run Ollama
  noslop.studio.web_service:
    name: noslop-ollama.service
    url: http://127.0.0.1:11434/api/version
    restart: "{{ tree.changed or unit.changed }}"
"""

RETURN = r"""
actions:
  description: Actions that were done, or would be.
  type: list
  elements: str
  returned: success
  sample: [daemon-reload, enable, restart]
kept:
  description: With C(state=absent), a unit file that stays because NoSlop did not write it.
  type: list
  elements: str
  returned: success
"""

import os
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils.host import processes
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import parse_properties

UNITS = "/etc/systemd/system"
#: Directory of markers of pending restarts. In memory, since a reboot starts the unit with the new program anyway.
PENDING_RESTARTS = "/run/noslop/restart"
HEADER = "Managed by NoSlop"
#: After so many restarts by systemd, the unit counts as failed.
MAX_RESTARTS = 5
JOURNAL_LINES = 15
_POLL_S = 0.5


class ServiceError(Exception):
    """A service does not run. The message is for the user who has to repair it."""


def main() -> None:
    """Start the service, or remove it."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "url": {"type": "str"},
            "restart": {"type": "bool", "default": False},
            "timeout_s": {"type": "int", "default": 180},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ("url",))],
        supports_check_mode=True,
    )
    service = Service(module)
    try:
        result = service.remove() if module.params["state"] == "absent" else service.ensure_running()
    except ServiceError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or service.name}: {error.strerror or error}")
    module.exit_json(**result)


class Service:
    """One unit."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.name: str = module.params["name"]
        self.unit_file = os.path.join(UNITS, self.name)
        self.pending_restart = os.path.join(PENDING_RESTARTS, self.name)
        self.actions: list[str] = []

    def ensure_running(self) -> dict[str, Any]:
        """Enable, start or restart the unit, and wait for its answer."""
        before = self.show()
        needs_restart = (
            self.module.params["restart"] or before["NeedDaemonReload"] == "yes" or os.path.exists(self.pending_restart)
        )
        is_active = before["ActiveState"] in ("active", "activating", "reloading")
        if needs_restart and is_active:
            self._record_restart()
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
            if os.path.exists(self.pending_restart):
                os.unlink(self.pending_restart)
        return {"changed": bool(self.actions), "actions": self.actions, "kept": []}

    def remove(self) -> dict[str, Any]:
        """Stop and disable the unit, and remove its unit file when it is ours."""
        before = self.show()
        kept = []
        if before["UnitFileState"] == "enabled":
            self._do("disable", self.name)
        if before["ActiveState"] not in ("inactive", "failed"):
            self._do("stop", self.name)
        if os.path.lexists(self.unit_file):
            if self._is_ours():
                self.actions.append(f"remove {self.unit_file}")
                if not self.module.check_mode:
                    os.unlink(self.unit_file)
                    self._systemctl("daemon-reload")
                    self._systemctl("reset-failed", self.name)
            else:
                kept.append(self.unit_file)
        return {"changed": bool(self.actions), "actions": self.actions, "kept": kept}

    def show(self) -> dict[str, str]:
        """Return the properties of the unit; a unit that does not exist is inactive."""
        names = ("LoadState", "ActiveState", "SubState", "UnitFileState", "NeedDaemonReload", "NRestarts", "Result")
        out = self._systemctl("show", "-p", ",".join(names), self.name)[1]
        properties = parse_properties(out)
        return {name: properties.get(name, "") for name in names}

    def _do(self, *words: str, may_fail: bool = False) -> None:
        self.actions.append(words[0])
        if self.module.check_mode:
            return
        code, out, err = self._systemctl(*words)
        # A start may fail because a share is not available yet: Restart= tries again, and the wait below decides.
        if code != 0 and not may_fail:
            raise ServiceError(f"systemctl {' '.join(words)} failed: {(err or out).strip()}")

    def _wait(self) -> None:
        url, timeout_s = self.module.params["url"], self.module.params["timeout_s"]
        deadline = time.monotonic() + timeout_s
        restarts_before = int(self.show()["NRestarts"] or 0)
        while True:
            problem = ask(url)
            if not problem:
                return
            now = self.show()
            has_stopped = now["ActiveState"] in ("failed", "inactive")
            restarts = int(now["NRestarts"] or 0) - restarts_before
            if has_stopped or restarts >= MAX_RESTARTS or time.monotonic() > deadline:
                raise ServiceError(self._diagnosis(url, problem, now))
            time.sleep(_POLL_S)

    def _diagnosis(self, url: str, problem: str, now: dict[str, str]) -> str:
        state = f"{now['ActiveState']} ({now['SubState']}, {now['NRestarts'] or 0} restarts, result {now['Result']})"
        journal = self.module.run_command(
            ["journalctl", "--unit", self.name, "--lines", str(JOURNAL_LINES), "--no-pager", "--output", "cat"]
        )[1]
        others = self._others_on_port()
        port_note = f"\nIts port is held by {', '.join(others)}." if others else ""
        return (
            f"{self.name} does not answer at {url}: {problem}. It is {state}.{port_note}\nThe end of its journal "
            f"(journalctl -u {self.name} shows all):\n{journal.strip()}"
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
        return urllib.parse.urlsplit(self.module.params["url"]).port or 80

    def _record_restart(self) -> None:
        if not self.module.check_mode:
            os.makedirs(PENDING_RESTARTS, mode=0o755, exist_ok=True)
            with open(self.pending_restart, "w", encoding="utf-8"):
                pass

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


if __name__ == "__main__":
    main()
