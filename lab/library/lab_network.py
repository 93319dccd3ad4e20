#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's bridge, its way out through the controller, and IPv4 forwarding with its old value remembered."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_network
short_description: The bridge of the test lab and its way out through the controller
version_added: 0.1.0
author: NoSlop contributors (@noslop)
description:
  - Makes a bridge with the controller's address, a nftables table of its own that masquerades the lab's subnet, and
    switches IPv4 forwarding on. Taking it away restores forwarding to what it was before the first lab network.
options:
  state:
    description: Whether the network is there.
    type: str
    choices: [present, absent]
    default: present
  user:
    description: Who needs forwarding. It is restored when the last user is gone.
    type: str
    required: true
  bridge:
    description: Name of the bridge. Without it only forwarding is managed.
    type: str
  address:
    description: The controller's address on the bridge, with its prefix length.
    type: str
  table:
    description: Name of the nftables table.
    type: str
    default: noslop_lab
  memory:
    description: Directory where the old value of the forwarding switch is remembered.
    type: path
    required: true
attributes:
  check_mode:
    description: Reports what would change.
    support: full
"""

EXAMPLES = r"""
- name: Make the lab's network
  lab_network:
    user: machines
    bridge: noslop0
    address: 10.77.42.1/24
    memory: .lab/forwarding
"""

RETURN = r"""
actions:
  description: What was done, or would be in check mode.
  type: list
  elements: str
  returned: always
"""

import ipaddress
import json
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

FORWARD = Path("/proc/sys/net/ipv4/ip_forward")

# Clamped, since the controller's own way out may carry less than the bridge does.
RULES = """table ip {table} {{
  chain forward {{
    type filter hook forward priority mangle;
    tcp flags syn / syn,rst tcp option maxseg size set rt mtu
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    ip saddr {subnet} oifname != "{bridge}" masquerade
  }}
}}
"""


class Network:
    """One lab network; every method looks first, then records and does what is missing."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.bridge: str | None = module.params["bridge"]
        self.address: str | None = module.params["address"]
        self.table: str = module.params["table"]
        self.memory = Path(module.params["memory"])
        self.user_file = self.memory / f"user.{module.params['user']}"
        self.before_file = self.memory / "before"
        self.actions: list[str] = []

    def act(self, what: str) -> bool:
        """Record a change; say whether to make it (not in check mode)."""
        self.actions.append(what)
        return not self.module.check_mode

    def run(self, *command: str, data: str | None = None) -> None:
        """Run a program that must succeed."""
        self.module.run_command(list(command), data=data, check_rc=True)

    def addresses(self) -> list[str]:
        """Return the bridge's IPv4 addresses with their prefix lengths."""
        _rc, out, _err = self.module.run_command(["ip", "-j", "-4", "address", "show", "dev", str(self.bridge)])
        found = json.loads(out) if out.strip() else []
        return [f"{a['local']}/{a['prefixlen']}" for link in found for a in link.get("addr_info", [])]

    def has_table(self) -> bool:
        """Say whether the nftables table is there."""
        if not self.module.get_bin_path("nft"):
            return False
        rc, _out, _err = self.module.run_command(["nft", "list", "table", "ip", self.table])
        return bool(rc == 0)

    def make_bridge(self) -> None:
        """Make bridge, address and table, each unless it is there."""
        if not Path(f"/sys/class/net/{self.bridge}/bridge").is_dir() and self.act(f"add bridge {self.bridge}"):
            self.run("ip", "link", "add", str(self.bridge), "type", "bridge", "stp_state", "0", "forward_delay", "0")
            self.run("ip", "link", "set", str(self.bridge), "up")
        if self.address not in self.addresses() and self.act(f"add address {self.address}"):
            self.run("ip", "address", "add", str(self.address), "dev", str(self.bridge))
        if not self.has_table() and self.act(f"add table {self.table}"):
            subnet = ipaddress.ip_interface(str(self.address)).network
            self.run("nft", "-f", "-", data=RULES.format(table=self.table, subnet=subnet, bridge=self.bridge))

    def remove_bridge(self) -> None:
        """Remove table and bridge, each if it is there."""
        if self.has_table() and self.act(f"remove table {self.table}"):
            self.run("nft", "delete", "table", "ip", self.table)
        if Path(f"/sys/class/net/{self.bridge}/bridge").is_dir() and self.act(f"remove bridge {self.bridge}"):
            self.run("ip", "link", "delete", str(self.bridge))

    def forward(self) -> None:
        """Switch forwarding on and remember what it was."""
        if not self.user_file.exists() and self.act("remember who needs forwarding"):
            self.memory.mkdir(parents=True, exist_ok=True)
            if not self.before_file.exists():
                self.before_file.write_text(FORWARD.read_text())
            self.user_file.touch()
        if FORWARD.read_text().strip() != "1" and self.act("switch forwarding on"):
            FORWARD.write_text("1\n")

    def restore_forwarding(self) -> None:
        """Set forwarding to what it was, once nobody needs it any more."""
        if self.user_file.exists() and self.act("forget who needs forwarding"):
            self.user_file.unlink()
        if not self.before_file.exists() or any(self.memory.glob("user.*")):
            return
        before = self.before_file.read_text()
        if FORWARD.read_text() != before and self.act(f"set forwarding to {before.strip()} again"):
            FORWARD.write_text(before)
        if not self.module.check_mode:
            self.before_file.unlink()
            self.memory.rmdir()


def main() -> None:
    """Do what the task says."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "user": {"type": "str", "required": True},
            "bridge": {"type": "str"},
            "address": {"type": "str"},
            "table": {"type": "str", "default": "noslop_lab"},
            "memory": {"type": "path", "required": True},
        },
        required_together=[("bridge", "address")],
        supports_check_mode=True,
    )
    network = Network(module)
    if module.params["state"] == "present":
        network.forward()
        if network.bridge:
            network.make_bridge()
    else:
        if network.bridge:
            network.remove_bridge()
        network.restore_forwarding()
    module.exit_json(changed=bool(network.actions), actions=network.actions)


if __name__ == "__main__":
    main()
