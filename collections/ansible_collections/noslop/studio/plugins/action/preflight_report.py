# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report on the controller, before a deployment, the problems of each host and of the studio as a whole."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.plugin_utils import reports
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import studio_rules

#: Registered by the role studio_preflight.
REGISTERED = "studio_preflight_result"
_ROLES = Path(__file__).parents[2] / "roles"


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Collect the checks of the hosts, and check the studio as a whole; run nothing on a host."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return ``report``. The task does not fail when a check failed."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        strings = {"type": "list", "elements": "str", "default": []}
        __, arguments = self.validate_argument_spec(
            argument_spec={
                "hosts": {"type": "list", "elements": "str", "required": True},
                "studio_id": {"type": "str", "default": ""},
                "provider": {"type": "str", "default": "nfs"},
                "servers": strings,
                "clients": strings,
                "services": {"type": "dict", "default": {}},
                "users": strings,
                "allowed_networks": strings,
                "asked": {"type": "float", "required": True},
            }
        )
        variables = task_vars or {}
        hostvars = variables["hostvars"]
        registered = {host: _registered(hostvars, host) for host in arguments["hosts"]}
        answers = {host: own for host, own in registered.items() if "checks" in own}
        studio_checks = Checks(studio_rules.STUDIO)
        studio_rules.judge_plan(
            studio_checks,
            studio_rules.Plan(
                hosts=arguments["hosts"],
                studio_id=arguments["studio_id"],
                provider=arguments["provider"],
                servers=arguments["servers"],
                clients=arguments["clients"],
                services=arguments["services"],
                addresses={host: _address(hostvars, host) for host in arguments["hosts"]},
                paths={host: own["paths"] for host, own in answers.items()},
                # A wrong noslop_address fails the host's own check of it.
                own_addresses={
                    host: own["identity"]["addresses"]
                    for host, own in answers.items()
                    if not hostvars[host].get("noslop_address")
                },
            ),
        )
        identities = {host: own["identity"] for host, own in answers.items()}
        studio_rules.judge_identities(studio_checks, identities)
        epochs = {host: float(own["epoch"]) for host, own in identities.items()}
        studio_rules.judge_clocks(studio_checks, epochs, arguments["asked"], time.time())
        studio_rules.judge_users(
            studio_checks, arguments["users"], {host: own["unknown_users"] for host, own in answers.items()}
        )
        studio_rules.judge_networks(studio_checks, arguments["allowed_networks"])
        declared, prefixes = declared_variables()
        # The variables of a play are in no host's hostvars, and extra variables are in all.
        names = {name for host in arguments["hosts"] for name in hostvars[host]} | set(variables)
        studio_rules.judge_variables(studio_checks, names, declared, prefixes)
        checks = studio_checks.list + reports.gather(
            arguments["hosts"], {host: [own] for host, own in registered.items()}
        )
        report = {"ok": not reports.select_failed(checks), "studio_id": arguments["studio_id"], "checks": checks}
        _display(reports.list_notes(checks), len(checks), ok=bool(report["ok"]))
        message = "\n".join([reports.format_headline(checks), *reports.list_problems(checks)])
        result.update(changed=False, report=report, message=message)
        return result


def declared_variables() -> tuple[set[str], set[str]]:
    """Return every variable that the collection reads, and the prefixes of its names."""
    declared = {*studio.DEFAULTS, *studio.HOST_VARIABLES, *studio.RUN_VARIABLES}
    prefixes = {"noslop_"}
    for file in sorted(_ROLES.glob("*/meta/argument_specs.yml")):
        prefixes.add(f"{file.parents[1].name}_")
        specification = yaml.safe_load(file.read_text(encoding="utf-8"))
        for entry_point in specification["argument_specs"].values():
            declared.update(entry_point.get("options") or {})
    return declared, prefixes


def _registered(hostvars: Mapping[str, Mapping[str, Any]], host: str) -> dict[str, Any]:
    own = hostvars[host].get(REGISTERED)
    return dict(own) if isinstance(own, Mapping) else {}


def _address(hostvars: Mapping[str, Mapping[str, Any]], host: str) -> str:
    try:
        return studio.address_of(host, {name: hostvars[host].get(name) for name in ("noslop_address", "ansible_host")})
    except ValueError:
        return ""


def _display(notes: list[str], count: int, *, ok: bool) -> None:
    """Print the notes; the problems are the message of the task that fails because of them."""
    display = Display()
    if notes:
        display.display("\n".join(["\nTo know", *notes]))
    if ok:
        display.display(f"\n{count} checks: nothing stands in the way.", color=constants.COLOR_OK)
