# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the inventory plugin ``noslop.studio.lan``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lan
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Find the SSH servers of a network
description:
  - Builds an inventory of the machines on a network that run an SSH server.
  - Connects to each address once and reads the server's greeting and public key. Needs no privilege, and never tries to
    log in.
  - With neither O(networks) nor O(hosts), scans the networks that this computer is in, unless they are larger than a
    C(/22), and the addresses in its neighbour table. Skips the interfaces of containers, virtual machines and VPNs.
  - A machine with several addresses and one host key is one host.
  - While it scans, asks the machines of the networks by multicast DNS which of them announce an SSH server. One on
    another port than O(port) is found with its port. An announcement only makes an address to be tried, inside the
    scanned networks.
  - With C(-v), shows the scanned networks and the result; a scan without result explains why in a warning.
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
notes:
  - Needs the Python package C(zeroconf) on the controller for O(mdns) only.
  - The file has to be called C(lan.noslop.yml) or C(lan.noslop.yaml), with anything before it.
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [noslop.studio.lan]
  networks:
    description:
      - Networks to scan, such as C(192.168.1.0/24), none larger than a C(/20); or names of this computer's
        interfaces, for all the networks of each.
      - Of an IPv6 network, only the addresses in this computer's neighbour table are tried.
    type: list
    elements: str
    default: []
  hosts:
    description: Names or addresses to try, each with C(:port) where it has a port of its own.
    type: list
    elements: str
    default: []
  port:
    description: The port of the SSH servers.
    type: int
    default: 22
  timeout:
    description: Seconds that an address may take to accept the connection.
    type: float
    default: 1.0
  in_flight:
    description: Number of connections that are tried at a time.
    type: int
    default: 128
  mdns:
    description:
      - Whether machines are asked to announce themselves.
      - By default, they are asked where the package is installed.
    type: bool
  group:
    description: Group of all machines in the result.
    type: str
    default: lan
"""

EXAMPLES = r"""
# The smallest lan.noslop.yml: the networks that this computer is in.
plugin: noslop.studio.lan

---
# One network and two further machines, scanned at most once an hour.
plugin: noslop.studio.lan
networks: [192.168.10.0/24]
hosts: [render1.example.org, "10.0.0.7:2222"]
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: .ansible/lan
cache_timeout: 3600
groups:
  debian: "'Debian' in noslop_lan_banner"
"""

from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.display import Display
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery import interfaces, mdns, scan_targets, ssh_scan

display = Display()


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc] # untyped base classes
    """Find machines, and add them with their connection variables."""

    NAME = "noslop.studio.lan"

    def verify_file(self, path: str) -> bool:
        """Return whether a file has the plugin's name: a scan must not start for every YAML file that Ansible tries."""
        return bool(super().verify_file(path)) and path.endswith(("lan.noslop.yml", "lan.noslop.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Add the machines of a scan, or of the cache, to the inventory.

        Raises:
            AnsibleParserError: a network is too large, an option is invalid, or this computer could not scan.
        """
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        machines = self._read_cache_or_scan(path, cache)
        group = self.inventory.add_group(self.get_option("group"))
        strict = self.get_option("strict")
        for name, variables in machines.items():
            self.inventory.add_host(name, group=group)
            for variable, value in variables.items():
                self.inventory.set_variable(name, variable, value)
            self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
            self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
            self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)

    def _read_cache_or_scan(self, path: str, cache: bool) -> dict[str, dict[str, Any]]:
        """Return the cached result for this file; else scan, and cache the result unless it is empty."""
        self.load_cache_plugin()
        key = self.get_cache_key(path)
        use_cache = self.get_option("cache")
        if use_cache and cache:
            try:
                return dict(self._cache[key])
            except KeyError:
                pass
        machines = self._scan()
        if use_cache and machines:
            self._cache[key] = machines
        return machines

    def _scan(self) -> dict[str, dict[str, Any]]:
        listen = self.get_option("mdns")
        if listen and not mdns.is_available():
            display.warning(mdns.MISSING_LIBRARY)
        limits = scan_targets.Limits(in_flight=self.get_option("in_flight"), connect_s=self.get_option("timeout"))
        try:
            plan = scan_targets.plan_scan(
                interfaces.read_local_networks(),
                self.get_option("networks"),
                self.get_option("hosts"),
                self.get_option("port"),
                limits,
                mdns=listen is not False and mdns.is_available(),
            )
            for line in plan.describe():
                display.v(f"noslop.studio.lan: searching {line}")
            result = ssh_scan.scan(plan)
        except (scan_targets.ScanTargetError, ssh_scan.ScanError) as error:
            raise AnsibleParserError(str(error)) from error
        for line in result.describe()[len(plan.describe()) :]:
            display.v(f"noslop.studio.lan: {line}")
        for finding in result.findings:
            if finding.named and finding.status != ssh_scan.OPEN:
                display.warning(f"{finding.hostname or finding.address}: {finding.detail}. {finding.todo}")
        machines = result.machines()
        if not machines:
            display.warning(f"No SSH server was found. {'; '.join(result.describe())}")
        return {_name(machine, machines): _variables(machine) for machine in machines}


def _name(machine: ssh_scan.Finding, machines: list[ssh_scan.Finding]) -> str:
    """Return the requested name, else the address; with the port where another machine has the same."""
    name = machine.hostname or machine.address
    same = [other for other in machines if (other.hostname or other.address) == name]
    return name if len(same) == 1 else f"{name}-{machine.port}"


def _variables(machine: ssh_scan.Finding) -> dict[str, Any]:
    return {
        "ansible_host": machine.address,
        "ansible_port": machine.port,
        "noslop_lan_addresses": list(machine.addresses),
        "noslop_lan_announced": machine.announced,
        "noslop_lan_banner": machine.banner,
        "noslop_lan_host_key": machine.fingerprint,
    }
