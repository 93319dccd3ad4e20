# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gather the evidence of one host: every part in a worker of its own, all at once, within a bound."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import monitor_checks
from ansible_collections.noslop.studio.plugins.module_utils.evidence import network, storage, system, units
from ansible_collections.noslop.studio.plugins.module_utils.host import written_files
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account, run_all
from ansible_collections.noslop.studio.plugins.module_utils.share.path_rules import make_unit_name

#: Every part ends within this time, or is evidence itself: its name with the reason is in ``unanswered``.
BOUND_S = 8.0
#: Jobs of the backend, whose timers must be enabled.
BACKEND_JOBS = ("recover", "retention", "backup", "reconcile")
SERVICES = ("ollama", "comfyui", "backend")
DISK, TREE = "disk ", "tree "


def gather(options: Mapping[str, Any], bound_s: float = BOUND_S) -> dict[str, Any]:
    """Return the evidence of this host.

    Args:
        options: the parameters of the module ``studio_check``.
        bound_s: seconds after which a part that does not answer is killed.
    """
    works, accounts = _list_works(options)
    outcomes = run_all(works, {name: accounts.get(name, Account(0, 0)) for name in works}, bound_s)
    values = {name: outcome.value for name, outcome in outcomes.items() if not outcome.error}
    evidence: dict[str, Any] = {
        name: value for name, value in values.items() if value is not None and not name.startswith((DISK, TREE))
    }
    evidence["disks"] = [values[name] for name in works if name.startswith(DISK) and name in values]
    evidence["trees"] = {name[len(TREE) :]: value for name, value in values.items() if name.startswith(TREE)}
    evidence["unanswered"] = {name: outcome.error for name, outcome in outcomes.items() if outcome.error}
    return evidence


def list_units(options: Mapping[str, Any]) -> list[str]:
    """Return the units of a studio that a host with these options has."""
    names = [options[f"{name}_unit"] for name in SERVICES if options[name]]
    if options["backend"]:
        names += [f"noslop-backend-{job}.timer" for job in BACKEND_JOBS]
    if options["firewall_enabled"]:
        names.append(studio.FIREWALL_UNIT)
    if options["provider"] == "nfs" and options["server"]:
        names.append(studio.NFS_SERVER_UNIT)
    if options["provider"] == "nfs" and not options["server"]:
        paths = [share["path"] for share in options["shares"]]
        names += [make_unit_name(path, kind) for path in paths for kind in ("automount", "mount")]
    if options["provider"] == "nfs" and options.get("transport", "plain") != "plain":
        names.append(studio.TLSHD_UNIT)
    names += [studio.SMB_UNIT] if options["smb"] else []
    names += [monitor_checks.TIMER] if options["monitor"] else []
    return names


def _list_works(options: Mapping[str, Any]) -> tuple[dict[str, Callable[[], Any]], dict[str, Account]]:
    """Return the function of each part, and the account of those that touch a share."""
    services = [name for name in SERVICES if options[name]]
    ports = {name: options[f"{name}_port"] for name in services}
    names = list_units(options)
    works: dict[str, Callable[[], Any]] = {
        "units": lambda: units.read_units(names, written_files.read().files, (options["backend_unit"],)),
        "failed_units": system.read_failed_units,
        "ports": lambda: network.read_ports(ports),
        "firewall": lambda: network.read_firewall({studio.NFS_PORT, *ports.values()}),
        "mounts": lambda: storage.read_mounts(options["shares"]),
        "clock": system.read_clock,
        "identity": system.read_identity,
        "certificates": lambda: system.read_certificates(options),
    }
    if options["ollama"] or options["comfyui"]:
        works["cards"] = system.read_cards
    if options["comfyui"]:
        address = options["address"] if options["firewall_enabled"] else "127.0.0.1"
        works["devices"] = lambda: system.read_devices(address, options["comfyui_port"])
        works["failed_imports"] = lambda: units.read_failed_imports(options["comfyui_unit"])
    serves = options["server"] or options["provider"] == "local"
    if options["provider"] == "nfs":
        if options["server"]:
            works["exports"] = storage.read_exports
        elif options["server_address"]:
            works["way"] = lambda: network.read_way(options["server_address"])
    works.update({DISK + path: functools.partial(storage.read_disk, path) for path in ("/", "/var")})
    owners = studio.accounts_from_dicts(options["accounts"])
    accounts = {}
    for share in options["shares"]:
        owner = owners[share.get("owner") or studio.PEOPLE]
        account = Account(owner.uid, owner.gid, tuple({owner.gid, owners[studio.PEOPLE].gid}))
        if serves:
            works[DISK + share["path"]] = functools.partial(storage.read_disk, share["path"])
            works[TREE + share["name"]] = storage.find_foreign_directories(share["path"], owner.uid)
            accounts[DISK + share["path"]] = accounts[TREE + share["name"]] = account
    return works, accounts
