#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load a table of nftables through its unit.

``ansible.builtin.systemd_service`` sees that the unit ran, not that the kernel's table still is the file's. A table
that another program flushed would stay open.
"""

from __future__ import annotations

DOCUMENTATION = r"""
module: nft_table
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Load a table of nftables through its unit
description:
  - Enables and starts the unit that loads a table from a file, and compares the table in the kernel with that file. A
    table that differs is loaded again; one that still differs is an error.
  - For the comparison the file is loaded into a temporary network namespace, so that the kernel prints both sides.
  - Returns the other firewalls on this host that drop packets unless a port is opened in them, which no other table
    can override.
attributes:
  check_mode:
    description: Returns whether the table would be loaded.
    support: full
  diff_mode:
    description: Shows the table in the kernel, and that of the file.
    support: full
options:
  state:
    description: >-
      Desired state. C(absent) stops and disables the unit, and deletes the table. C(checked) changes nothing.
    type: str
    choices: [present, absent, checked]
    default: present
  table:
    description: Family and name of the table.
    type: str
    default: inet noslop_studio
  file:
    description: File that replaces the table as a whole.
    type: path
    default: /etc/noslop/firewall.nft
  unit:
    description: Unit that loads that file.
    type: str
    default: noslop-firewall.service
  bound_units:
    description: >-
      Units that are bound to that unit. With C(present), their files are reloaded where they changed. With
      C(checked), C(listeners) contains the sockets of these units.
    type: list
    elements: str
    default: []
  missing_ok:
    description: Whether a missing C(nft) is reported in C(installed), instead of being an error.
    type: bool
    default: false
  record:
    description: >-
      File in which the checksum of the loaded table is recorded, so that a change by hand is noticed. Nothing is
      recorded where its directory is missing.
    type: path
    default: /var/lib/noslop/written-files.json
"""

EXAMPLES = r"""
- name: Load the studio's rules
  noslop.studio.nft_table:
    state: present
"""

RETURN = r"""
changes:
  description: Changes that were made, or would be.
  type: list
  elements: str
  returned: always
installed:
  description: Whether this host has C(nft).
  type: bool
  returned: success
loaded:
  description: Whether the table was loaded before, or its unit ran.
  type: bool
  returned: success
listeners:
  description: TCP sockets of C(bound_units) that other hosts could reach without the table, with their units.
  type: list
  elements: str
  returned: when C(state) is C(checked)
foreign:
  description: >-
    Other firewalls that drop packets unless a port is opened - C(ufw), C(firewalld), or a table and chain of nftables.
  type: list
  elements: str
  returned: success
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host import processes, sockets, written_files
from ansible_collections.noslop.studio.plugins.module_utils.host.systemd import Systemd, SystemdError


class TableError(Exception):
    """The table cannot be loaded as in its file. The message contains the reason."""


class Table:
    """One table and the unit that loads it."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.unit: str = module.params["unit"]
        self.name: list[str] = module.params["table"].split()
        self.file: str = module.params["file"]
        self.systemd = Systemd(module)
        self.diff = {"before": "", "after": ""}

    @property
    def changes(self) -> list[str]:
        """Return what was changed, or in check mode would be."""
        return self.systemd.changes

    @property
    def installed(self) -> bool:
        """Return whether this host has nft."""
        return self.module.get_bin_path("nft") is not None

    def load(self) -> None:
        """Enable and start the unit, and load the file again where the kernel's table differs."""
        if not self.module.check_mode:
            self.diff["after"] = self.expected()  # a file that cannot be loaded is refused before anything is done
        unit = self.systemd.show([self.unit])[self.unit]
        if unit.stale or unit.load != "loaded":
            self.systemd.reload_manager()
        if unit.enabled != "enabled":
            self.systemd.do("enable", self.unit)
        if not unit.is_active:
            self.systemd.do("start", self.unit)
        if any(bound.stale for bound in self.systemd.show(self.module.params["bound_units"]).values()):
            self.systemd.reload_manager()
        if self.module.check_mode and (self.changes or not os.path.exists(self.file)):
            return
        self.diff = {"before": self.current(), "after": self.diff["after"] or self.expected()}
        if self.diff["before"] != self.diff["after"]:
            self.systemd.do("reload-or-restart", self.unit)
        if not self.module.check_mode and self.current() != self.diff["after"]:
            raise TableError(
                f"{self.file} was loaded, and `nft list table {' '.join(self.name)}` shows something else. "
                "Another program changes the table: find it, and run again."
            )

    def unload(self) -> None:
        """Stop the unit and delete the table."""
        unit = self.systemd.show([self.unit])[self.unit]
        if unit.enabled == "enabled":
            self.systemd.do("disable", self.unit)
        if unit.is_active:
            self.systemd.do("stop", self.unit)
        before = self.current()
        if before:
            self.diff["before"] = before
            self.changes.append(f"nft delete table {' '.join(self.name)}")
            if not self.module.check_mode:
                self._nft("delete", "table", *self.name)

    def record(self, path: str) -> None:
        """Record the table as it is in the kernel now, or that there is none."""
        text = self.current()
        version = self.module.run_command(["nft", "--version"])[1].strip() if text else ""
        table = written_files.Table(written_files.digest(text.encode()), version) if text else None
        written_files.update({}, {" ".join(self.name): table}, path)

    def is_loaded(self) -> bool:
        """Return whether the table is loaded, or its unit runs."""
        return bool(self.current()) or self.systemd.show([self.unit])[self.unit].is_active

    def current(self) -> str:
        """Return the table in the kernel; empty where there is none."""
        if not self.installed:
            return ""
        code, out, _err = self.module.run_command(["nft", "--stateless", "list", "table", *self.name])
        return str(out) if code == 0 else ""

    def expected(self) -> str:
        """Return the table that the file makes, as the kernel prints it."""
        script = 'nft --file "$1" && shift && nft --stateless list table "$@"'
        command = ["unshare", "--net", "sh", "-c", script, "sh", self.file, *self.name]
        code, out, err = self.module.run_command(command)
        if code != 0:
            raise TableError(f"{self.file} could not be loaded into a namespace of its own: {(err or out).strip()}")
        return str(out)

    def foreign(self) -> list[str]:
        """Return the other firewalls of this host that drop packets unless a port is opened in them."""
        firewalls = []
        if self.module.get_bin_path("ufw") and "Status: active" in self.module.run_command(["ufw", "status"])[1]:
            firewalls.append("ufw")
        if self.systemd.show(["firewalld.service"])["firewalld.service"].is_active:
            firewalls.append("firewalld")
        return firewalls or dropping_chains(self._nft("--json", "list", "chains"), self.name)

    def _nft(self, *words: str) -> str:
        code, out, err = self.module.run_command(["nft", *words])
        if code != 0:
            raise TableError(f"nft {' '.join(words)}: {(err or out).strip()}")
        return str(out)


def reachable_listeners(units: list[str]) -> list[str]:
    """Return ``tcp ADDRESS:PORT (UNIT)`` of each TCP socket of these units that listens beyond loopback."""
    reachable = [one for one in sockets.read_listeners() if one.protocol == "tcp" and not one.is_loopback]
    programs = sockets.find_programs(one.inode for one in reachable)
    listeners = []
    for one in reachable:
        program = programs.get(one.inode)
        process = processes.read(program.pid) if program else None
        if process and process.unit in units:
            listeners.append(f"{one} ({process.unit})")
    return sorted(listeners)


def dropping_chains(listing: str, ours: list[str]) -> list[str]:
    """Return ``family table chain`` of each chain of other tables that drops packets which no rule accepts."""
    chains = [entry["chain"] for entry in json.loads(listing or "{}").get("nftables", []) if "chain" in entry]
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if chain.get("hook") == "input" and chain.get("policy") == "drop" and [chain["family"], chain["table"]] != ours
    ]


def main() -> None:
    """Load or unload the table."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent", "checked"], "default": "present"},
            "table": {"type": "str", "default": "inet noslop_studio"},
            "file": {"type": "path", "default": studio.FIREWALL_FILE},
            "unit": {"type": "str", "default": studio.FIREWALL_UNIT},
            "bound_units": {"type": "list", "elements": "str", "default": []},
            "missing_ok": {"type": "bool", "default": False},
            "record": {"type": "path", "default": written_files.PATH},
        },
        supports_check_mode=True,
    )
    table = Table(module)
    foreign: list[str] = []
    state: dict[str, object] = {}
    try:
        state["loaded"] = table.is_loaded()
        if module.params["state"] == "present":
            if table.installed or not module.params["missing_ok"]:
                table.load()
        elif module.params["state"] == "checked":
            state["listeners"] = reachable_listeners(module.params["bound_units"])
        else:
            table.unload()
        if module.params["state"] != "checked" and not module.check_mode:
            table.record(module.params["record"])
        if table.installed:
            foreign = table.foreign()
    except (TableError, SystemdError, OSError) as error:
        module.fail_json(msg=str(error), changes=table.changes)
    module.exit_json(
        changed=bool(table.changes),
        changes=table.changes,
        installed=table.installed,
        foreign=foreign,
        diff=table.diff,
        **state,
    )


if __name__ == "__main__":
    main()
