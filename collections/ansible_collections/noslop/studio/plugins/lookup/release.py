# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the lookup ``noslop.studio.release``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: release
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the version of ComfyUI or Ollama that a studio has, and what it needs
description:
  - Returns one release - the one that the studio's variables C(noslop_comfyui_version) and C(noslop_ollama_version)
    name, the one that NoSlop is tested with where they are empty, or the one that is named here.
  - The data of the tested releases is in C(vars/releases.yml) of the roles C(comfyui) and C(ollama). Another release
    has the needs of the newest tested release before it, no commit and no checksums.
options:
  _terms:
    description: The program, V(comfyui) or V(ollama), and optionally a version of it.
    type: list
    elements: str
    required: true
  torch_packages:
    description: Requirements of a host that may pin PyTorch below what the release needs.
    type: list
    elements: str
    default: []
  allow_vulnerable:
    description: Whether a release with vulnerabilities is accepted.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show the commit of the studio's ComfyUI
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.release', 'comfyui').commit }}"

- name: Show what is wrong with a release of Ollama
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.release', 'ollama', '0.20.2').vulnerabilities }}"
"""

RETURN = r"""
_raw:
  description: >-
    One dictionary with C(version), a tag or commit of ComfyUI or the number of an Ollama, C(commit), C(sha256) by
    architecture, C(python) and C(torch), the oldest that it runs with, C(vulnerabilities), each with C(id) and
    C(effect), and C(problems), for which it may not be installed, each with C(text) and C(todo). What is not known is
    empty.
  type: list
  elements: dict
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.noslop.studio.plugins.plugin_utils import releases


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no types
    """Return a release of a program."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Return one dictionary. Raises AnsibleError for a version that is none."""
        self.set_options(var_options=variables, direct=kwargs)
        program, *versions = terms or [""]
        if program not in releases.VARIABLES or len(versions) > 1:
            raise AnsibleError(f"name a program, {' or '.join(releases.VARIABLES)}, and at most one version of it")
        try:
            version = versions[0] if versions else self._read_setting(program, variables or {})
        except ValueError as error:
            raise AnsibleError(str(error)) from error
        release = releases.find_release(program, version)
        problems = releases.find_problems(
            program,
            release,
            torch_packages=self.get_option("torch_packages"),
            allow_vulnerable=self.get_option("allow_vulnerable"),
        )
        # Ansible's templates know lists, and no tuples.
        vulnerabilities = [asdict(one) for one in release.vulnerabilities]
        return [{**asdict(release), "vulnerabilities": vulnerabilities, "problems": [asdict(one) for one in problems]}]

    def _read_setting(self, program: str, variables: Mapping[str, Any]) -> str:
        """Return the version that the studio's variable names. Raises ValueError."""
        value = self._templar.template(variables.get(releases.VARIABLES[program], ""))
        return releases.parse_setting(program, "" if value is None else value)
