# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the checks of one look at a host: those that it makes by itself, and that say something of its deployment."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.checks import monitor_checks, transport_checks
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.module_utils.checks.host_watch import SLOW, HostWatch
from ansible_collections.noslop.studio.plugins.module_utils.host import check_status
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account


class HostLook:
    """One look at a host. ``options`` are the parameters of ``studio_check``, ``bound_s`` is that of each part."""

    def __init__(self, options: Mapping[str, Any], bound_s: float) -> None:
        self._options = options
        self._watch = HostWatch(options, math.inf, bound_s, writer=f"{options['host']}.look")

    @property
    def owners(self) -> Mapping[str, Account]:
        """Return the account of each share, as which it is used."""
        return self._watch.owners

    def make_checks(self, *, writes: bool) -> Checks:
        """Make the checks. With ``writes``, a small file is written to each share, and removed."""
        checks = Checks(str(self._options["host"]))
        if writes:
            # How fast a disk is says nothing of a deployment.
            checks.list += [check for check in self._watch.run({}).checks if check["check"] != SLOW]
        transport_checks.check_renewal(checks, self._options)
        if self._options.get("monitor"):
            monitor_checks.judge_monitor(checks, check_status.read(), time.time())
        return checks
