# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render an inventory with the passwords that options of ansible-playbook cannot give. It is never on a disk."""

from __future__ import annotations

import json
import os
from collections.abc import Collection

from noslop_driver.errors import UsageError
from noslop_driver.secrets import Secrets


def render_secret_inventory(secrets: Secrets, hosts: Collection[str]) -> str:
    """Return the inventory as YAML, or an empty text if the options are enough.

    Ansible has one password for all hosts in its options, and removes blanks at its ends.

    Args:
        secrets: the passwords.
        hosts: the hosts of the inventory; passwords of others are left out, because Ansible would add those hosts.

    Raises:
        UsageError: this computer has no files without a name.
    """
    general = {"ansible_password": secrets.ssh_password, "ansible_become_password": secrets.become_password}
    lines = [
        f"    {name}: {_format(password)}"
        for name, password in general.items()
        if password and password != password.strip()
    ]
    lines = ["  vars:", *lines] if lines else []
    own = {host: password for host, password in secrets.become_passwords.items() if host in hosts}
    if own:
        lines.append("  hosts:")
    for host, password in own.items():
        lines += [f"    {json.dumps(host)}:", f"      ansible_become_password: {_format(password)}"]
    if not lines:
        return ""
    if not hasattr(os, "memfd_create"):
        raise UsageError(
            "Passwords for single hosts, and passwords with a blank at an end, need Linux on this computer. Write them "
            "into the inventory with ansible-vault (ansible_become_password)."
        )
    return "\n".join(["all:", *lines, ""])


def _format(password: str) -> str:
    """Return a password as YAML that Ansible does not read as a template."""
    return f"!unsafe {json.dumps(password, ensure_ascii=False)}"
