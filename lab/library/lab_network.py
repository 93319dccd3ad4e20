#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage the lab's bridge, its masquerading through the controller, and IPv4 forwarding."""

from __future__ import annotations

DOCUMENTATION = r"""
module: lab_network
short_description: Bridge and masquerading of the test lab
version_added: 0.1.0
author: NoSlop contributors (@noslop)
description:
  - Creates a bridge with the controller's address and an nftables table that masquerades the lab's subnet, and enables
    IPv4 forwarding. Removal restores the value of forwarding from before the first lab network.
options:
  state:
    description: Whether the network exists.
    type: str
    choices: [present, absent]
    default: present
  user:
    description: Name of the lab that needs forwarding. The old value is restored when the last lab is removed.
    type: str
    required: true
  bridge:
    description: Name of the bridge. Without it, only forwarding is managed.
    type: str
  address:
    description: The controller's address on the bridge, with its prefix length.
    type: str
  table:
    description: Name of the nftables table.
    type: str
    default: noslop_lab
  state_dir:
    description: Directory with the old value of forwarding and the names of the labs that need it.
    type: path
    required: true
attributes:
  check_mode:
    description: Reports what would change.
    support: full
"""

EXAMPLES = r"""
- name: Create the lab's network
  lab_network:
    user: machines
    bridge: noslop0
    address: 10.77.42.1/24
    state_dir: .lab/forwarding
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

# The MSS is clamped, since the controller's route may have a smaller MTU than the bridge.
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
    """One lab network; each method checks the state first, then records and makes the missing changes."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.bridge: str | None = module.params["bridge"]
        self.address: str | None = module.params["address"]
        self.table: str = module.params["table"]
        self.state_dir = Path(module.params["state_dir"])
        self.user_file = self.state_dir / f"user.{module.params['user']}"
        self.old_value_file = self.state_dir / "before"
        self.actions: list[str] = []

    def act(self, change: str) -> bool:
        """Record a change, and return whether to make it (not in check mode)."""
        self.actions.append(change)
        return not self.module.check_mode

    def run(self, *command: str, data: str | None = None) -> None:
        """Run a program, and fail the module where it fails."""
        self.module.run_command(list(command), data=data, check_rc=True)

    def addresses(self) -> list[str]:
        """Return the bridge's IPv4 addresses with their prefix lengths."""
        _rc, out, _err = self.module.run_command(["ip", "-j", "-4", "address", "show", "dev", str(self.bridge)])
        links = json.loads(out) if out.strip() else []
        return [f"{a['local']}/{a['prefixlen']}" for link in links for a in link.get("addr_info", [])]

    def has_table(self) -> bool:
        """Return whether the nftables table exists."""
        if not self.module.get_bin_path("nft"):
            return False
        rc, _out, _err = self.module.run_command(["nft", "list", "table", "ip", self.table])
        return bool(rc == 0)

    def make_bridge(self) -> None:
        """Create the bridge, its address and the table, each unless it exists."""
        if not Path(f"/sys/class/net/{self.bridge}/bridge").is_dir() and self.act(f"add bridge {self.bridge}"):
            self.run("ip", "link", "add", str(self.bridge), "type", "bridge", "stp_state", "0", "forward_delay", "0")
            self.run("ip", "link", "set", str(self.bridge), "up")
        if self.address not in self.addresses() and self.act(f"add address {self.address}"):
            self.run("ip", "address", "add", str(self.address), "dev", str(self.bridge))
        if not self.has_table() and self.act(f"add table {self.table}"):
            subnet = ipaddress.ip_interface(str(self.address)).network
            self.run("nft", "-f", "-", data=RULES.format(table=self.table, subnet=subnet, bridge=self.bridge))

    def remove_bridge(self) -> None:
        """Remove the table and the bridge, each if it exists."""
        if self.has_table() and self.act(f"remove table {self.table}"):
            self.run("nft", "delete", "table", "ip", self.table)
        if Path(f"/sys/class/net/{self.bridge}/bridge").is_dir() and self.act(f"remove bridge {self.bridge}"):
            self.run("ip", "link", "delete", str(self.bridge))

    def enable_forwarding(self) -> None:
        """Enable forwarding and save the old value."""
        if not self.user_file.exists() and self.act("record the user of forwarding"):
            self.state_dir.mkdir(parents=True, exist_ok=True)
            if not self.old_value_file.exists():
                self.old_value_file.write_text(FORWARD.read_text())
            self.user_file.touch()
        if FORWARD.read_text().strip() != "1" and self.act("enable forwarding"):
            FORWARD.write_text("1\n")

    def restore_forwarding(self) -> None:
        """Restore the old value of forwarding when its last user is removed."""
        if self.user_file.exists() and self.act("remove the user of forwarding"):
            self.user_file.unlink()
        if not self.old_value_file.exists() or any(self.state_dir.glob("user.*")):
            return
        old_value = self.old_value_file.read_text()
        if FORWARD.read_text() != old_value and self.act(f"restore forwarding to {old_value.strip()}"):
            FORWARD.write_text(old_value)
        if not self.module.check_mode:
            self.old_value_file.unlink()
            self.state_dir.rmdir()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "user": {"type": "str", "required": True},
            "bridge": {"type": "str"},
            "address": {"type": "str"},
            "table": {"type": "str", "default": "noslop_lab"},
            "state_dir": {"type": "path", "required": True},
        },
        required_together=[("bridge", "address")],
        supports_check_mode=True,
    )
    network = Network(module)
    if module.params["state"] == "present":
        network.enable_forwarding()
        if network.bridge:
            network.make_bridge()
    else:
        if network.bridge:
            network.remove_bridge()
        network.restore_forwarding()
    module.exit_json(changed=bool(network.actions), actions=network.actions)


if __name__ == "__main__":
    main()
