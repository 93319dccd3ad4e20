# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the ports of the services: set once, and used by every role that filters or checks a port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.noslop.studio.plugins.module_utils import studio

REPOSITORY = Path(__file__).parents[4]
ROLES = REPOSITORY / "collections/ansible_collections/noslop/studio/roles"
ROLE_OF = {"comfyui": "comfyui", "ollama": "ollama", "backend": "studio_backend"}


def defaults(role: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text(encoding="utf-8"))
    return read


def test_role_defaults_match_the_lookup() -> None:
    for service, (variable, port) in studio.PORTS.items():
        assert defaults(ROLE_OF[service])[variable] == port


def test_ports_follow_their_variables() -> None:
    assert studio.ports({}) == {"comfyui": 8188, "ollama": 11434, "backend": 8765}
    assert studio.ports({"studio_backend_port": 8790, "ollama_port": "11435", "comfyui_port": None}) == {
        "comfyui": 8188,
        "ollama": 11435,
        "backend": 8790,
    }


@pytest.mark.parametrize("port", [0, 65536, -1, "http", 80.5, True, "²", [8765]])
def test_invalid_port_is_refused_with_its_variable(port: object) -> None:
    with pytest.raises(ValueError, match=r"studio_backend_port: .* is no port"):
        studio.ports({"studio_backend_port": port})


def test_firewall_preflight_and_verification_follow_a_changed_port() -> None:
    """Evaluate the roles' defaults with Ansible, with a value that is itself a template."""
    wanted = [
        "studio_firewall_service_ports",
        *(f"studio_{role}_{service}_port" for role in ("preflight", "verify") for service in ROLE_OF),
    ]
    words = [str(Path(sys.executable).with_name("ansible")), "localhost", "--connection", "local", "-m", "debug"]
    for role in ("studio_firewall", "studio_preflight", "studio_verify"):
        words += ["-e", f"@{ROLES / role / 'defaults/main.yml'}"]
    words += ["-e", json.dumps({"moved": 8790, "studio_backend_port": "{{ moved }}", "ollama_port": 11435})]
    words += ["-a", "msg={{ [" + ", ".join(wanted) + "] }}"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_LOCALHOST_WARNING": "no"}
    environment |= {"ANSIBLE_LOAD_CALLBACK_PLUGINS": "true", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout.partition("=>")[2])["msg"]
    defaults_by_name = dict(zip(wanted, answer, strict=True))
    assert sorted(defaults_by_name.pop("studio_firewall_service_ports")) == [8188, 8790, 11435]
    assert defaults_by_name == {
        f"studio_{role}_{service}_port": port
        for role in ("preflight", "verify")
        for service, port in (("backend", 8790), ("ollama", 11435), ("comfyui", 8188))
    }
