# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the three phases of a verification on one host."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import (
    disk_checks,
    drift_checks,
    host_rules,
    model_checks,
    monitor_checks,
    nft_rules,
    server_checks,
    server_connection,
    smb_checks,
    storage_checks,
    transport_checks,
)
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.module_utils.checks.host_services import HostServices
from ansible_collections.noslop.studio.plugins.module_utils.checks.storage_checks import Storage
from ansible_collections.noslop.studio.plugins.module_utils.host import (
    check_status,
    mountinfo,
    sockets,
    state,
    written_files,
)
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import (
    Account,
    Outcome,
    account_for,
    run_all,
    run_one,
)
from ansible_collections.noslop.studio.plugins.module_utils.models.warm import Share
from ansible_collections.noslop.studio.plugins.module_utils.nfs import exports, mount_options
from ansible_collections.noslop.studio.plugins.module_utils.probe import directory, steps
from ansible_collections.noslop.studio.plugins.module_utils.probe import host_rules as probe_rules
from ansible_collections.noslop.studio.plugins.module_utils.probe.requirements import Place
from ansible_collections.noslop.studio.plugins.module_utils.share import inspection
from ansible_collections.noslop.studio.plugins.module_utils.share.path_rules import make_unit_name

NOBODY = Account(65534, 65534)
#: Timeout of a share that did not answer before, and of short tests.
SHORT_S = 20.0
TABLE = ("inet", "noslop_studio")


class Verification:
    """One host's part of a verification. ``options`` are the module's parameters."""

    def __init__(self, options: Mapping[str, Any], *, writes: bool) -> None:
        self._options = options
        self._writes = writes
        self._short_s = min(SHORT_S, options["timeout"])
        self._host: str = options["host"]
        self._shares: list[dict[str, str]] = options["shares"]
        self._peers: Mapping[str, Mapping[str, Any]] = options["peers"]
        self._own: Mapping[str, Any] = self._peers.get(self._host, {})
        limits = [int(peer.get("max_block_bytes") or 0) for peer in self._peers.values()]
        self._storage = Storage(
            provider=options["provider"],
            server=options["server"],
            server_address=options["server_address"],
            studio_id=options["studio_id"],
            accounts=studio.accounts_from_dicts(options["accounts"]),
            min_free_gb=options["min_free_gb"],
            read_ahead_kb=options["read_ahead_kb"],
            root=options["root"],
            max_block_bytes=max(limits, default=0),
            require_own_file_system=options["require_own_file_system"],
            mount_options=options["mount_options"],
            models_options=options["models_options"],
            transport=options.get("transport", "plain"),
        )
        people = self._storage.people
        self._account = account_for(people.uid, people.gid)
        # Each share is used as the account that owns it, with the group that may enter the storage root.
        self._owners = {share["name"]: self._owner(share) for share in self._shares}
        self._services = HostServices(
            options=options,
            shares={share["name"]: share for share in self._shares},
            storage=self._storage,
            owners=self._owners,
            account=self._account,
            peers=self._peers,
            writes=self._writes,
        )

    def _owner(self, share: Mapping[str, str]) -> Account:
        owner = self._storage.owner(share)
        return Account(owner.uid, owner.gid, tuple({owner.gid, self._storage.people.gid}))

    # write

    def write(self) -> dict[str, Any]:
        """Write a nonce to each share, and a model for ComfyUI; return what the other hosts need for their checks."""
        run_id = secrets.token_hex(8)
        nonce, probe = inspection.make_file_names(self._host, run_id)
        contents = {share["name"]: secrets.token_hex(32) for share in self._shares}
        results: dict[str, dict[str, Any]] = {}
        if self._writes and self._server_away:
            refusal = f"nothing was written: the storage server takes no connections ({self._server_away})"
            results = {share["name"]: {"error": refusal, "refused": True} for share in self._shares}
        elif self._writes:
            works = {
                share["name"]: self._write_work(share, nonce, contents[share["name"]], probe) for share in self._shares
            }
            for name, outcome in run_all(works, self._owners, self._options["timeout"]).items():
                answer = dict(outcome.value or {"error": outcome.error})
                results[name] = {**answer, "waited_s": outcome.elapsed_s, "hung": outcome.hung}
        return {
            "written": {
                "host": self._host,
                "address": self._options["address"],
                "ollama": self._options["ollama"],
                "comfyui": self._options["comfyui"],
                "backend": self._options["backend"],
                "ports": {name: self._options[f"{name}_port"] for name in ("ollama", "comfyui", "backend")},
                "run_id": run_id,
                "nonces": {
                    name: {"file": nonce, "content": contents[name]}
                    for name, result in results.items()
                    if not result.get("error") and "refused_write" not in result
                },
                "results": results,
                "probe": probe if any(result.get("probe") for result in results.values()) else "",
                "models": self._services.list_models()
                if "services" in self._options["scope"] and not self._server_away
                else [],
                "max_block_bytes": int(state.read_text("/proc/fs/nfsd/max_block_size") or 0)
                if self._storage.server
                else 0,
            }
        }

    def _write_work(
        self, share: Mapping[str, str], nonce: str, content: str, probe: str
    ) -> Callable[[], dict[str, Any]]:
        wants_probe = share["name"] == "comfyui_models" and "services" in self._options["scope"]

        def work() -> dict[str, Any]:
            inspected = inspection.inspect(share["path"])
            refusal = self._find_refusal(share, inspected)
            if refusal:
                return {"error": refusal, "refused": True}
            if self._storage.is_read_only(share):
                return inspection.try_to_write(share["path"], nonce)
            written = inspection.write_nonce(share["path"], nonce, content)
            written["network"] = inspected["mount"]["fstype"] in mountinfo.NETWORK_TYPES
            if self._storage.provider == "existing":
                name = directory.make_name(self._storage.studio_id, nonce)
                written["features"] = steps.test_share(share["path"], name)
            written["probe"] = wants_probe and inspection.write_probe(share["path"], probe)
            return written

        return work

    def _find_refusal(self, share: Mapping[str, str], inspected: Mapping[str, Any]) -> str:
        """Return why nothing is written to what lies at the path of a share; empty where it is the right share."""
        observed, expected, wrong = storage_checks.find_mount_problem(self._storage, share["path"], inspected)
        if wrong:
            return f"nothing was written, since {observed} is not {expected}"
        problem = storage_checks.find_marker_problem(self._storage.studio_id, share["name"], inspected["marker"])
        return f"nothing was written: {problem}" if problem else ""

    # read

    def read(self) -> dict[str, Any]:
        """Make every check of this host."""
        checks = Checks(self._host)
        deployed = False
        if "storage" in self._options["scope"]:
            deployed = self._read_storage(checks)
            deployed = self._read_firewall(checks) or deployed
        if "services" in self._options["scope"]:
            if not self._options["firewall_enabled"]:
                # Not earlier: a firewall that is switched off stays loaded until the services listen on loopback.
                server_checks.judge_loopback(checks, sockets.read_listeners(), self._services.ports)
            away = bool(self._server_away or (self._is_hung and self._options.get("bound")))
            deployed = self._services.check_all(checks, server_away=away) or deployed
            # Not with the storage's scope: what the services' roles wrote is mended by the phase after that.
            drift_checks.judge_files(checks, written_files.read())
            if self._options["monitor"]:
                monitor_checks.judge_monitor(checks, check_status.read(), time.time())
            if self._storage.server:
                paths = {share["name"]: share["path"] for share in self._shares if share["kind"] == "models"}
                shares = {name: Share(name, path, self._owners[name]) for name, path in paths.items()}
                model_checks.check_intact(checks, shares)
        return {"checks": checks.list, "deployed": deployed}

    def _read_storage(self, checks: Checks) -> bool:
        storage_checks.judge_accounts(checks, self._storage, state.read_accounts(self._storage.accounts))
        if self._storage.is_client:
            self._check_connection(checks)
        usual_s = self._short_s if self._is_hung else self._options["timeout"]
        timeout_s = server_connection.CONNECT_S if self._server_away else usual_s
        inspections = run_all(
            {share["name"]: self._read_work(share) for share in self._shares}, self._owners, timeout_s
        )
        deployed = self._judge_shares(checks, inspections, dict if self._server_away else self._test_write_access)
        # A local file system has no other clock to compare with.
        clocks_s = {name: result["clock_s"] for name, result in self._written().items() if result.get("network")}
        if clocks_s:
            storage_checks.judge_clock(checks, clocks_s)
        if self._storage.server and self._storage.provider == "nfs":
            self._read_server(checks)
        elif self._storage.is_client:
            self._check_listeners(checks)
        elif self._storage.provider == "local":
            disk_checks.check_disks(checks, self._shares)
        transport_checks.check_where_used(checks, self._options)
        smb_checks.check_where_served(checks, self._options)
        return deployed

    def _judge_shares(
        self, checks: Checks, inspections: Mapping[str, Outcome], test_write_access: Callable[[], Mapping[str, bool]]
    ) -> bool:
        """Check every share by what its worker returned. Returns whether any share is deployed."""
        # After the inspections, which trigger the automounts: before its first use the mount has no state.
        units = state.read_units(self._unit_names()) if self._storage.is_client else {}
        open_to_all = test_write_access()
        counted: set[str] = set()
        deployed = False
        for share in self._shares:
            todo = ""
            if self._storage.is_client:
                automount, mount = (units[make_unit_name(share["path"], kind)] for kind in ("automount", "mount"))
                todo = storage_checks.judge_units(checks, share, automount, mount)
                deployed = deployed or automount.load != "not-found"
            outcome = inspections[share["name"]]
            if outcome.error:
                self._add_unanswered(checks, share, outcome.error, todo)
                continue
            deployed = deployed or not outcome.value["inspected"]["marker"]["error"]
            self._judge_share(checks, share, outcome.value, todo)
            # The file systems of the server are checked on the server, each once.
            inspected = outcome.value["inspected"]
            if not self._storage.is_client and inspected["device"] not in counted:
                counted.add(inspected["device"])
                host_rules.judge_inodes(
                    checks, share["path"], inspected["inodes"], inspected["free_inodes"], share=share["name"]
                )
            if share["name"] in open_to_all:
                storage_checks.judge_closed(checks, self._storage, share, open_to_all[share["name"]])
        system, device = os.statvfs("/"), os.stat("/").st_dev
        if f"{os.major(device)}:{os.minor(device)}" not in counted:
            host_rules.judge_inodes(checks, "/", system.f_files, system.f_favail)
        return deployed

    def _written(self) -> dict[str, dict[str, Any]]:
        """Return what this host's first phase did on each share; nothing in check mode."""
        if not self._writes:
            return {}
        nothing = {"error": "the first part of this verification gave no result"}
        results = self._own.get("results", {})
        return {share["name"]: results.get(share["name"], nothing) for share in self._shares}

    def _read_work(self, share: Mapping[str, str]) -> Callable[[], dict[str, Any]]:
        expected = {
            host: peer["nonces"][share["name"]]
            for host, peer in self._peers.items()
            if host != self._host and share["name"] in peer["nonces"]
        }

        def work() -> dict[str, Any]:
            inspected = inspection.inspect(share["path"])
            return {"inspected": inspected, "nonces": inspection.read_nonces(share["path"], expected)}

        return work

    def _judge_share(self, checks: Checks, share: Mapping[str, str], outcome: Mapping[str, Any], todo: str) -> None:
        storage, inspected = self._storage, outcome["inspected"]
        before = len(checks.list)
        if storage_checks.judge_mount(checks, storage, share, inspected, todo) == "not mounted":
            return
        storage_checks.judge_marker(checks, storage, share, inspected)
        healthy = all(check["ok"] for check in checks.list[before:])
        storage_checks.judge_space(checks, storage, share, inspected)
        if storage.is_client:
            storage_checks.judge_options(checks, storage, share, inspected["mount"])
            if share["kind"] == "models":
                text = state.read_text(f"/sys/class/bdi/{inspected['device']}/read_ahead_kb").strip()
                storage_checks.judge_read_ahead(checks, storage, share, int(text) if text.isdigit() else None)
        written = self._written().get(share["name"])
        # Nothing is written to the wrong share, and its problem was reported just above.
        if storage.is_read_only(share):
            if written and "refused_write" in written:
                storage_checks.judge_refused_write(checks, share, written)
        elif written and (healthy or not written.get("refused")):
            storage_checks.judge_written(checks, storage, share, written)
            if written.get("features"):
                owner = storage.owner(share)
                place = Place(share["name"], share["path"], owner.name, owner.uid, owner.gid)
                probe_rules.judge_features_again(checks, place, checks.host, written["features"])
        if outcome["nonces"]:
            storage_checks.judge_nonces(checks, share, outcome["nonces"])

    def _add_unanswered(self, checks: Checks, share: Mapping[str, str], error: str, todo: str) -> None:
        step = storage_checks.rerun_step(checks.host)
        if self._storage.is_client and not todo:
            step = f"see whether the storage server {self._storage.server_address} runs; if it does, {step}"
        mount = mount_options.effective_mount(mountinfo.read_mounts(), share["path"])
        mounted = f"{mount.fstype} from {mount.source} is mounted" if mount else "nothing is mounted there"
        observed = f"{mounted if self._storage.is_client else share['path']}: {error}"
        answers = f"{share['path']} answers"
        checks.add("storage.mounted", False, share=share["name"], seen=observed, expected=answers, todo=todo or step)

    def _test_write_access(self) -> dict[str, bool]:
        work = functools.partial(inspection.list_writable, {share["name"]: share["path"] for share in self._shares})
        return run_one(work, NOBODY, self._short_s).value or {}

    @property
    def _is_hung(self) -> bool:
        """Return whether a share did not answer this host's first phase."""
        return any(result.get("hung") for result in self._own.get("results", {}).values())

    @functools.cached_property
    def _server_away(self) -> str:
        """Return why the storage server takes no connections from this client; empty where it does. Tested once."""
        return server_connection.find_error(self._storage.server_address) if self._storage.is_client else ""

    def _check_connection(self, checks: Checks) -> None:
        server = self._storage.server_address
        source = server_connection.read_source_address(server)
        server_connection.judge_source_address(checks, self._options["address"], source, self._options["clients"])
        server_connection.judge_connection(checks, server, self._server_away)

    def _unit_names(self) -> list[str]:
        return [make_unit_name(share["path"], kind) for share in self._shares for kind in ("automount", "mount")]

    def _read_server(self, checks: Checks) -> None:
        shown = exports.parse_exportfs(state.run_program("exportfs", "-s"))
        table = mountinfo.read_mounts()
        disk_checks.check_disks(checks, self._shares)
        server_checks.judge_exports(checks, self._storage, self._shares, self._options["clients"], shown, table=table)
        overlaps = exports.find_overlaps([share["path"] for share in self._shares], state.read_foreign_exports())
        expected = "no line of others exports a share, or what is above or below one"
        host_rules.add_problems(checks, "server.exports_files", overlaps, expected=expected)
        server_checks.judge_file_systems(checks, self._storage, self._shares, table)
        nfsd = {name: state.read_text(f"/proc/fs/nfsd/{name}") for name in ("threads", "versions", "portlist")}
        server_checks.judge_nfsd(checks, nfsd, self._options["server_threads"])
        self._check_listeners(checks)

    def _check_listeners(self, checks: Checks) -> None:
        if self._options["quiet_units"]:
            listeners = sockets.read_listeners()
            programs = sockets.find_programs(one.inode for one in listeners)
            server_checks.judge_listeners(checks, listeners, programs, client=self._storage.is_client)

    # firewall and services

    def _read_firewall(self, checks: Checks) -> bool:
        if not self._options["firewall_enabled"]:
            return False
        listing = None
        with contextlib.suppress(ValueError):
            listing = json.loads(state.run_program("nft", "--json", "list", "table", *TABLE))
        before = len(checks.list)
        nft_rules.judge_firewall(
            checks,
            listing,
            member_ports=[server_checks.NFS_PORT],
            service_ports=self._services.open_ports,
            members=self._options["members"],
            allowed=self._options["allowed_networks"],
            smb_ports=self._options["smb_ports"] if self._options["smb"] else [],
            smb_networks=self._options["smb_networks"],
        )
        if all(check["ok"] for check in checks.list[before:]):
            drift_checks.read_table(checks, TABLE)
        return listing is not None

    # cleanup

    def cleanup(self) -> dict[str, Any]:
        """Remove what this verification wrote. A share that does not answer keeps it until the next verification."""
        if not self._writes or self._server_away:
            return {"removed": []}
        run_id = self._options["run_id"]
        works = {
            share["name"]: functools.partial(inspection.clean, share["path"], run_id)
            for share in self._shares
            if not self._storage.is_read_only(share)
        }
        outcomes = run_all(works, self._owners, self._short_s)
        return {"removed": [path for outcome in outcomes.values() for path in outcome.value or []]}
