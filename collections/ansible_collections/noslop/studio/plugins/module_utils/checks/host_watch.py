# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the part of a verification that a host makes by itself, and often: without other hosts, and within a bound.

Every part runs in a worker of its own, all at once, so that a share or a program that does not answer delays no other
part. A worker that outlives its kill, because the kernel waits for a file system, is returned; the caller names it in
the next run, which then starts no second one for the same part.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks import (
    disk_checks,
    drift_checks,
    service_checks,
    smb_checks,
    storage_checks,
    transport_checks,
)
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, Checks, enumerate_words
from ansible_collections.noslop.studio.plugins.module_utils.checks.service_checks import Service
from ansible_collections.noslop.studio.plugins.module_utils.checks.verification import NOBODY, Verification
from ansible_collections.noslop.studio.plugins.module_utils.host import state, written_files
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account, Outcome, run_all
from ansible_collections.noslop.studio.plugins.module_utils.share import inspection

#: A share that does not answer within this time is away. With runs each 30 s it is reported within a minute.
BOUND_S = 15.0
#: The part that reads the host itself, and the prefixes of those of one share and of one service.
HOST, SHARE, SERVICE = "host", "share ", "service "
SLOW = "storage.slow"


@dataclass(frozen=True)
class Watched:
    """The checks of one run, the seconds of a write to each share, and the workers that outlived their kill.

    The last are process numbers by part.
    """

    checks: list[Check]
    write_s: dict[str, float]
    left: dict[str, int]


class HostWatch(Verification):
    """The part of a verification that one host makes by itself. ``options`` are the parameters of ``studio_check``.

    ``slow_s`` is the longest time that a small write may take, ``bound_s`` that of each part. ``writer`` names the file
    that is written, so that two programs of a host write different ones; by default it is the host's name.
    """

    def __init__(
        self, options: Mapping[str, Any], slow_s: float, bound_s: float = BOUND_S, *, writer: str = ""
    ) -> None:
        # Programs that listen are not looked for: that reads the open files of every process.
        super().__init__({**options, "quiet_units": [], "peers": {}}, writes=True)
        self._slow_s = slow_s
        self._bound_s = bound_s
        self._writer = writer or self._host

    @property
    def owners(self) -> Mapping[str, Account]:
        """Return the account of each share, as which it is used, by the share's name."""
        return self._owners

    def run(self, hanging: Mapping[str, str]) -> Watched:
        """Make every check. Waits a few seconds longer than the bound at most.

        Args:
            hanging: part to an error, for parts whose worker of an earlier run still hangs.
        """
        own = Account(os.geteuid(), os.getegid(), tuple(os.getgroups()))
        works: dict[str, Callable[[], Any]] = {HOST: self._read_host}
        works.update({SHARE + share["name"]: self._probe_work(share) for share in self._shares})
        services = self._services.list_running()
        works.update({SERVICE + name: self._service_work(service) for name, service in services.items()})
        accounts = {HOST: own, **{SHARE + name: owner for name, owner in self._owners.items()}}
        # What a service answers is read by a process without rights: a custom node can have it answer anything.
        accounts.update(dict.fromkeys((SERVICE + name for name in services), NOBODY if own.uid == 0 else own))
        started = {part: work for part, work in works.items() if part not in hanging}
        outcomes = run_all(started, accounts, self._bound_s)
        outcomes.update({part: Outcome(error=error, hung=True) for part, error in hanging.items() if part in works})

        checks = Checks(self._host)
        inspections = {share["name"]: outcomes[SHARE + share["name"]] for share in self._shares}
        written = {name: outcome.value["written"] for name, outcome in inspections.items() if not outcome.error}
        self._own = {"results": written}
        self._judge_shares(checks, inspections, dict)
        write_s = {name: result["write_s"] for name, result in written.items() if "write_s" in result}
        for name, seconds in write_s.items():
            self._judge_speed(checks, name, seconds)
        self._add_parts(checks, {part: one for part, one in outcomes.items() if not part.startswith(SHARE)})
        return Watched(checks.list, write_s, {part: one.left for part, one in outcomes.items() if one.left})

    def _probe_work(self, share: Mapping[str, str]) -> Callable[[], dict[str, Any]]:
        def work() -> dict[str, Any]:
            inspected = inspection.inspect(share["path"])
            refusal = self._find_refusal(share, inspected)
            if refusal:
                return {"inspected": inspected, "nonces": {}, "written": {"error": refusal, "refused": True}}
            try:
                if self._storage.is_read_only(share):
                    written = inspection.try_to_write(share["path"], inspection.OWN_PREFIX + self._writer)
                else:
                    written = inspection.measure_write(share["path"], self._writer)
            except OSError as error:
                written = {"error": str(error.strerror)}
            return {"inspected": inspected, "nonces": {}, "written": written}

        return work

    def _service_work(self, service: Service) -> Callable[[], list[Check]]:
        def work() -> list[Check]:
            checks = Checks(self._host)
            service_checks.check_answer(checks, service, 0.0)
            return checks.list

        return work

    def _read_host(self) -> list[Check]:
        """Check what needs no share: the accounts, the connection, the exports, the firewall and the written files."""
        checks = Checks(self._host)
        storage = self._storage
        storage_checks.judge_accounts(checks, storage, state.read_accounts(storage.accounts))
        if storage.is_client:
            self._check_connection(checks)
        elif storage.server and storage.provider == "nfs":
            self._read_server(checks)
        elif storage.provider == "local":
            disk_checks.check_disks(checks, self._shares)
        transport_checks.check_where_used(checks, self._options)
        smb_checks.check_where_served(checks, self._options)
        self._read_firewall(checks)
        drift_checks.judge_files(checks, written_files.read())
        return checks.list

    def _judge_speed(self, checks: Checks, share: str, seconds: float) -> None:
        checks.add(
            SLOW,
            seconds <= self._slow_s,
            share=share,
            seen=f"a small file was on the disk after {seconds:.2f} s",
            expected=f"at most {self._slow_s:g} s (studio_verify_monitor_slow_s)",
            todo=(
                "see what keeps the disk of the storage server busy (`iostat -x 5`, `iotop`), and whether one of its "
                "disks fails (`smartctl -H`, `journalctl -k`)"
            ),
        )

    def _add_parts(self, checks: Checks, outcomes: Mapping[str, Outcome]) -> None:
        """Add the checks of the parts that returned some, and one that names the others."""
        wrong = []
        for part, outcome in outcomes.items():
            checks.list += outcome.value or []
            wrong += [f"the checks of the {part}: {outcome.error}"] if outcome.error else []
        checks.add(
            "host.checks",
            not wrong,
            seen="; ".join(wrong) or f"the checks of {enumerate_words(outcomes)} ended",
            expected=f"every check ends within {self._bound_s:g} s",
            todo=f"see what {checks.host} does: `systemctl --failed`, `journalctl -k -n 50`, `top`",
        )
