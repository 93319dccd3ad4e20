# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check all services of one host, each with what the options say of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import (
    announce_checks,
    gpu_checks,
    model_checks,
    node_checks,
    service_checks,
    service_probe,
)
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks
from ansible_collections.noslop.studio.plugins.module_utils.checks.storage_checks import Storage
from ansible_collections.noslop.studio.plugins.module_utils.host import gpu, state
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Unit
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account
from ansible_collections.noslop.studio.plugins.module_utils.nfs import mount_options

NODES_SHARE = "comfyui_custom_nodes"
#: Each service with the share that it works on and the function that checks it.
KINDS = {
    "ollama": ("ollama_models", service_checks.check_ollama),
    "comfyui": ("comfyui_models", service_checks.check_comfyui),
    "backend": ("projects", service_checks.check_backend),
}


@dataclass(frozen=True)
class HostServices:
    """The services of one host. ``options`` are the parameters of the module that verifies.

    ``shares`` and ``owners`` have an entry for each share; ``account`` is that of people; ``peers`` are what all hosts
    returned in the phase before.
    """

    options: Mapping[str, Any]
    shares: Mapping[str, Mapping[str, str]]
    storage: Storage
    owners: Mapping[str, Account]
    account: Account
    peers: Mapping[str, Mapping[str, Any]]
    writes: bool

    @property
    def ports(self) -> list[int]:
        """Return the ports of all services."""
        return [self.options[f"{name}_port"] for name in KINDS]

    @property
    def open_ports(self) -> list[int]:
        """Return the ports that members and allowed networks may reach: of all services, and of announcements."""
        return [*self.ports, *([studio.MDNS_PORT] if self.options.get("announce") else [])]

    def list_models(self) -> list[str]:
        """Return the models that Ollama lists; nothing where it does not run."""
        if not self.options["ollama"]:
            return []
        answer = service_probe.get_json(self._address, self.options["ollama_port"], "/api/tags")
        with contextlib.suppress(ValueError):
            return service_probe.parse_ollama_models(answer.data)
        return []

    def check_all(self, checks: Checks, *, server_away: bool = False) -> bool:
        """Check every service. Returns whether this host has one of their units.

        Args:
            checks: where the results go.
            server_away: whether the storage server takes no connections, so that waiting is of no use.
        """
        context = self._make_context(server_away)
        names = [self.options[f"{name}_unit"] for name in KINDS]
        units = service_checks.wait_for_units(names, context.patience.start_s)
        running = {}
        for name, (__, check) in KINDS.items():
            service = self._describe(name, units)
            if self.options[name]:
                running[name] = check(checks, service, context)
            elif name == "backend":
                # A studio has one backend, and every host is its client.
                service_checks.check_backend_elsewhere(checks, service, context)
        ollama, comfyui = running.get("ollama"), running.get("comfyui")
        if ollama and comfyui:
            gpu_checks.note_shared_card(checks, gpu.find_gpus(gpu.run_program), ollama, comfyui)
        announce_checks.check_where_announced(checks, self.options, list(KINDS))
        return any(unit.load not in ("not-found", "") for unit in units.values())

    def list_running(self) -> dict[str, service_checks.Service]:
        """Return the services that run on this host, by name."""
        names = [name for name in KINDS if self.options[name]]
        units = state.read_units([self.options[f"{name}_unit"] for name in names]) if names else {}
        return {name: self._describe(name, units) for name in names}

    def _describe(self, name: str, units: Mapping[str, Unit]) -> service_checks.Service:
        return service_checks.Service(
            name=name,
            title=studio.SERVICES[name].title,
            unit=units[self.options[f"{name}_unit"]],
            address=self._address,
            port=self.options[f"{name}_port"],
            share=self.shares[KINDS[name][0]],
        )

    @property
    def _address(self) -> str:
        return str(self.options["address"]) if self.options["firewall_enabled"] else "127.0.0.1"

    @property
    def _start_s(self) -> float:
        """Return how long a service may take to start: not longer than a share may take to answer."""
        return min(service_checks.START_BOUND_S, float(self.options.get("timeout", service_checks.START_BOUND_S)))

    def _make_context(self, server_away: bool) -> service_checks.CheckContext:
        storage = self.storage
        requested = mount_options.compose(self.shares["comfyui_models"], storage.mount_options, storage.models_options)
        cache_s = mount_options.directory_cache_s(requested) if storage.is_client else 0.0
        return service_checks.CheckContext(
            self.options["host"],
            self.account,
            self.peers,
            self.options["firewall_enabled"],
            self.writes,
            service_checks.NO_PATIENCE
            if server_away
            else service_checks.Patience(self._start_s, service_checks.LIST_BOUND_S + cache_s),
            self._look_at_nodes(server_away),
            model_checks.Catalogue(
                self.options["model_files"],
                self.options["ollama_models"],
                self.shares["comfyui_models"]["path"],
                self.owners["comfyui_models"],
            ),
        )

    def _look_at_nodes(self, server_away: bool) -> node_checks.HostNodes:
        if not self.options["comfyui"]:
            return node_checks.NO_NODES
        if server_away:
            return node_checks.HostNodes(node_checks.read_failed_nodes())
        others = node_checks.list_others(self.shares[NODES_SHARE]["path"], self.owners[NODES_SHARE])
        return node_checks.HostNodes(node_checks.read_failed_nodes(), others)
