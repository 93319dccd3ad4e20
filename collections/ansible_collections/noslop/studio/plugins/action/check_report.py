# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report on the controller the checks of all hosts: those before a deployment, and those that a studio works."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Check, Checks
from ansible_collections.noslop.studio.plugins.module_utils.host.addresses import address_of
from ansible_collections.noslop.studio.plugins.plugin_utils import probe_report, reports, token_file
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import studio_rules, variable_rules
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.declared_variables import list_declared_variables
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.smb import SmbSettings
from ansible_collections.noslop.studio.plugins.plugin_utils.validation.transport import TransportSettings

#: Registered by the roles. Of verification's, the second has the error of the connection where the first is missing.
REGISTERED = {
    "preflight": ("studio_preflight_result",),
    "verification": ("studio_verify_result", "__studio_verify_written"),
    "probe": ("__existing_storage_measured", "__existing_storage_met"),
}
_STRINGS = {"type": "list", "elements": "str", "default": []}


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Collect the checks of the hosts, add those of the studio, print and return the report; run nothing on a host."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the report. The task does not fail when a check failed."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        __, arguments = self.validate_argument_spec(
            argument_spec={
                "stage": {"type": "str", "choices": list(REGISTERED), "required": True},
                "hosts": {"type": "list", "elements": "str", "required": True},
                "studio_id": {"type": "str", "default": ""},
                "path": {"type": "str", "default": ""},
                "provider": {"type": "str", "default": "nfs"},
                "transport": {"type": "str", "default": "plain"},
                "insecure_clients": _STRINGS,
                "servers": _STRINGS,
                "clients": _STRINGS,
                "services": {"type": "dict", "default": {}},
                "users": _STRINGS,
                "allowed_networks": _STRINGS,
                "custom_nodes": {"type": "raw", "default": []},
                "models": {"type": "raw", "default": []},
                "caches": {"type": "dict", "default": {}},
                "extra_shares": {"type": "raw", "default": []},
                "storage_paths": _STRINGS,
                "webhook": {"type": "raw", "default": {}},
                "shares": {"type": "list", "elements": "dict", "default": []},
                "accounts": {"type": "list", "elements": "dict", "default": []},
                "smb": {"type": "dict", "default": {}},
                "asked": {"type": "float"},
            },
            required_if=[("stage", "preflight", ["asked"])],
        )
        variables = task_vars or {}
        hostvars = variables["hostvars"]
        hosts: list[str] = arguments["hosts"]
        results = {host: _list_registered(hostvars, host, REGISTERED[arguments["stage"]]) for host in hosts}
        if arguments["stage"] == "probe":
            return {**result, **self._report_probe(arguments, results)}
        checks = reports.gather(hosts, results)
        preflight = arguments["stage"] == "preflight"
        if preflight:
            # The variables of a play are in no host's hostvars, and extra variables are in all.
            names = {name for host in hosts for name in hostvars[host]} | set(variables)
            checks = _judge_studio(arguments, hostvars, results, names) + checks
        elif self._task.check_mode:
            bare = {host for host, own in results.items() if any(one.get("deployed") is False for one in own)}
            checks = [check for check in checks if check["host"] not in bare]
            checks += [reports.report_not_deployed(host) for host in hosts if host in bare]
        if preflight:
            _display_notes(checks)
        else:
            title = f"Verification of studio {arguments['studio_id']}"
            _display_checks(checks, title, checked_only=self._task.check_mode)
        return {**result, **_make_result(arguments, checks)}

    def _report_probe(
        self, arguments: Mapping[str, Any], results: Mapping[str, Sequence[Mapping[str, Any]]]
    ) -> dict[str, Any]:
        """Print and return the report of a probe of storage that is shared already."""
        if self._task.check_mode:
            checks = probe_report.report_unmeasured()
        else:
            checks = probe_report.judge_results(arguments["hosts"], results, arguments["shares"], arguments["accounts"])
        _display_checks(checks, f"Storage of studio {arguments['studio_id']}", checked_only=False)
        return _make_result(arguments, checks)


def _make_result(arguments: Mapping[str, Any], checks: list[Check]) -> dict[str, Any]:
    """Return the result of the task, and write the report to its file if it has one."""
    report = reports.make_report(arguments["studio_id"], checks, datetime.now(UTC).isoformat(timespec="seconds"))
    if arguments["path"]:
        write(arguments["path"], report)
    headline = reports.format_headline(checks)
    message = "\n".join([headline, *reports.list_problems(checks)])
    return {"changed": False, reports.KEY: report, "headline": headline, "message": message}


def _judge_studio(
    arguments: Mapping[str, Any],
    hostvars: Mapping[str, Mapping[str, Any]],
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    names: set[str],
) -> list[Check]:
    """Check the studio as a whole before its deployment, by the inventory and the answers of its hosts."""
    checks = Checks(studio_rules.STUDIO)
    answers = {host: own[0] for host, own in results.items() if own and "checks" in own[0]}
    identities = {host: own["identity"] for host, own in answers.items()}
    addresses = {host: _find_address(hostvars, host) for host in arguments["hosts"]}
    studio_rules.judge_plan(
        checks,
        studio_rules.Plan(
            hosts=arguments["hosts"],
            studio_id=arguments["studio_id"],
            provider=arguments["provider"],
            servers=arguments["servers"],
            clients=arguments["clients"],
            services=arguments["services"],
            addresses=addresses,
            paths={host: own["paths"] for host, own in answers.items()},
            # A wrong noslop_address fails the host's own check of it.
            own_addresses={
                host: own["addresses"] for host, own in identities.items() if not hostvars[host].get("noslop_address")
            },
        ),
    )
    studio_rules.judge_identities(checks, identities)
    epochs = {host: float(own["epoch"]) for host, own in identities.items()}
    studio_rules.judge_clocks(checks, epochs, arguments["asked"], time.time())
    unknown = {host: own["unknown_users"] for host, own in answers.items()}
    studio_rules.judge_users(checks, arguments["users"], unknown)
    variable_rules.judge_networks(checks, arguments["allowed_networks"])
    variable_rules.judge_custom_nodes(checks, arguments["custom_nodes"], arguments["services"].get("comfyui", ()))
    variable_rules.judge_models(checks, arguments["models"], arguments["services"], arguments["servers"])
    variable_rules.judge_extra_shares(checks, arguments["extra_shares"], arguments["clients"])
    variable_rules.judge_caches(checks, arguments["caches"], arguments["storage_paths"])
    variable_rules.judge_webhook(checks, arguments["webhook"], token_file.read)
    smb = arguments["smb"]
    if smb:
        variable_rules.judge_smb(
            checks, SmbSettings(**smb, provider=arguments["provider"], servers=arguments["servers"])
        )
    variable_rules.judge_transport(
        checks,
        TransportSettings(
            arguments["transport"], arguments["provider"], addresses, insecure_clients=arguments["insecure_clients"]
        ),
    )
    variable_rules.judge_variables(checks, names, *list_declared_variables())
    return checks.list


def _list_registered(
    hostvars: Mapping[str, Mapping[str, Any]], host: str, names: tuple[str, ...]
) -> list[Mapping[str, Any]]:
    """Return the results that tasks registered for a host under these names, as far as they ran."""
    own = hostvars.get(host, {})
    return [dict(own[name]) for name in names if isinstance(own.get(name), Mapping)]


def _find_address(hostvars: Mapping[str, Mapping[str, Any]], host: str) -> str:
    try:
        return address_of(host, {name: hostvars[host].get(name) for name in ("noslop_address", "ansible_host")})
    except ValueError:
        return ""


def write(path: str, report: Mapping[str, Any]) -> None:
    """Write the report in one step, so that no reader sees half of it.

    Raises:
        AnsibleActionFail: it could not be written.
    """
    directory = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(directory, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=directory, prefix=".report-")
        with open(descriptor, "w", encoding="utf-8") as stream:
            json.dump(report, stream, indent=2)
            stream.write("\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise AnsibleActionFail(f"the report could not be written to {path}: {error.strerror}") from error


def _display_notes(checks: Sequence[Check]) -> None:
    """Print the notes; the problems are the message of the task that fails because of them."""
    display = Display()
    notes = reports.list_notes(checks)
    if notes:
        display.display("\n".join(["\nTo know", *notes]))
    if not reports.select_failed(checks):
        display.display(f"\n{len(checks)} checks: nothing stands in the way.", color=constants.COLOR_OK)


def _display_checks(checks: list[Check], title: str, *, checked_only: bool) -> None:
    """Print the table, then every failed check in full; with ``-v`` every check."""
    display = Display()
    display.display(f"\n{title}", color=constants.COLOR_HIGHLIGHT)
    for line, ok in reports.summarize(checks):
        display.display(line, color=constants.COLOR_OK if ok else constants.COLOR_ERROR)
    if display.verbosity > 0:
        display.display("\n".join(["", *map(reports.format_line, checks)]))
    notes = reports.list_notes(checks)
    if notes:
        display.display("\n".join(["\nTo know", *notes]))
    bad = reports.select_failed(checks)
    if bad:
        display.display("\n".join(["\nFailed", *map(reports.format_check, bad)]), color=constants.COLOR_ERROR)
    if checked_only:
        display.display("\n  In check mode nothing is written, so the proof across hosts is left out.")
