# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the become plugin ``noslop.studio.sudo``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: sudo
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Become root with sudo or with sudo-rs
description:
  - Does what P(ansible.builtin.sudo#become) does, and recognizes the prompts and the messages of sudo-rs too, the
    default of Ubuntu 25.10 and later. It prints its own words before the prompt that Ansible asks it for, so that
    Ansible waits for one until the time is up, although the password is right.
  - Needs sudo-rs 0.2.5 or later, which has the option C(-p).
options:
  become_user:
    description: The account to become.
    type: str
    default: root
    ini:
      - section: privilege_escalation
        key: become_user
      - section: sudo_become_plugin
        key: user
    vars:
      - name: ansible_become_user
      - name: ansible_sudo_user
    env:
      - name: ANSIBLE_BECOME_USER
      - name: ANSIBLE_SUDO_USER
    keyword:
      - name: become_user
  become_exe:
    description: The program.
    type: str
    default: sudo
    ini:
      - section: privilege_escalation
        key: become_exe
      - section: sudo_become_plugin
        key: executable
    vars:
      - name: ansible_become_exe
      - name: ansible_sudo_exe
    env:
      - name: ANSIBLE_BECOME_EXE
      - name: ANSIBLE_SUDO_EXE
    keyword:
      - name: become_exe
  become_flags:
    description: Its options.
    type: str
    default: -H -S -n
    ini:
      - section: privilege_escalation
        key: become_flags
      - section: sudo_become_plugin
        key: flags
    vars:
      - name: ansible_become_flags
      - name: ansible_sudo_flags
    env:
      - name: ANSIBLE_BECOME_FLAGS
      - name: ANSIBLE_SUDO_FLAGS
    keyword:
      - name: become_flags
  become_pass:
    description: The password.
    type: str
    vars:
      - name: ansible_become_password
      - name: ansible_become_pass
      - name: ansible_sudo_pass
    env:
      - name: ANSIBLE_BECOME_PASS
      - name: ANSIBLE_SUDO_PASS
    ini:
      - section: sudo_become_plugin
        key: password
  sudo_chdir:
    description: The directory to change to before the program starts.
    type: str
    vars:
      - name: ansible_sudo_chdir
    env:
      - name: ANSIBLE_SUDO_CHDIR
    ini:
      - section: sudo_become_plugin
        key: chdir
"""

EXAMPLES = r"""
# group_vars/all/connection.yml
ansible_become_method: noslop.studio.sudo
"""

from ansible.plugins.become.sudo import BecomeModule as Sudo


class BecomeModule(Sudo):  # type: ignore[misc]  # ansible-core has no types
    """Run commands with sudo or sudo-rs."""

    # Messages of sudo-rs.
    fail = (*Sudo.fail, "Authentication failed, try again", "incorrect authentication attempt")
    missing = (*Sudo.missing, "interactive authentication is required")

    def check_password_prompt(self, b_output: bytes) -> bool:
        """Return whether the output has the prompt; sudo-rs prints ``[sudo: PROMPT] Password:``."""
        prompt = str(self.prompt or "").strip().encode()
        return bool(prompt) and prompt in b_output
