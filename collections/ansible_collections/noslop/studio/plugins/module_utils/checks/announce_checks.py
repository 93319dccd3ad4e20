# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that the services of a host are announced by multicast DNS where a studio wants it, and no others."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, enumerate_words
from ansible_collections.noslop.studio.plugins.module_utils.checks.storage_checks import describe_unit
from ansible_collections.noslop.studio.plugins.module_utils.host import state
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Unit

_PORT = re.compile(r"<port>(\d+)</port>")


def check_where_announced(checks: Checks, options: Mapping[str, Any], names: Sequence[str]) -> None:
    """Read what Avahi announces of the studio on this host, and judge it.

    Args:
        checks: where the result goes.
        options: of the module ``studio_check``: ``announce``, and of each service whether it runs here and its port.
        names: the services of a studio.
    """
    expected = {name: int(options[f"{name}_port"]) for name in names if options.get("announce") and options[name]}
    announced = {name: port for name in names if (port := read_port(name))}
    if expected or announced:
        unit = state.read_units([studio.AVAHI_UNIT])[studio.AVAHI_UNIT]
        judge_announcements(checks, expected, announced, unit)


def judge_announcements(checks: Checks, expected: Mapping[str, int], announced: Mapping[str, int], unit: Unit) -> None:
    """Check that these services are announced with these ports, by a daemon that runs.

    Args:
        checks: where the result goes.
        expected: the port of each service that is to be announced.
        announced: the port of each service that has a file for Avahi.
        unit: the state of Avahi.
    """
    wrong = [f"{name} is not announced" for name in expected if name not in announced]
    wrong += [f"{name} is announced" for name in announced if name not in expected]
    wrong += [
        f"{name} is announced with port {announced[name]}"
        for name, port in expected.items()
        if name in announced and announced[name] != port
    ]
    if expected and not unit.is_active:
        wrong.append(describe_unit(unit))
    listed = enumerate_words([f"{name} with port {port}" for name, port in expected.items()], "none of its services")
    checks.add(
        "services.announced",
        not wrong,
        seen="; ".join(wrong) or listed,
        expected=f"{listed} by multicast DNS",
        todo=f"run the services playbook again for {checks.host}; `journalctl -u {studio.AVAHI_UNIT}` there says more",
    )


def read_port(name: str, directory: str = studio.AVAHI_DIRECTORY) -> int:
    """Return the port with which a service of the studio is announced; 0 where it is not."""
    match = _PORT.search(state.read_text(os.path.join(directory, f"noslop-{name}.service")))
    return int(match.group(1)) if match else 0
