# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the lookup of a studio's values in real plays: its examples, changed variables, and the roles that read it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.noslop.studio.plugins.lookup import studio as lookup
from ansible_collections.noslop.studio.plugins.module_utils import studio

REPOSITORY = Path(__file__).parents[4]
ROLES = REPOSITORY / "collections/ansible_collections/noslop/studio/roles"
ENVIRONMENT = {
    **os.environ,
    "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
    "ANSIBLE_LOCALHOST_WARNING": "no",
    "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    "ANSIBLE_NOCOLOR": "1",
}
INVENTORY = {
    "all": {
        "hosts": {
            "server": {"ansible_host": "10.0.0.1"},
            "worker": {"ansible_host": "w", "noslop_address": "10.0.0.2"},
        },
        "children": {"storage_clients": {"hosts": {"worker": {}}}, "empty": {}},
    }
}


def run_tasks(directory: Path, tasks: list[dict[str, Any]], **variables: object) -> list[Any]:
    """Run tasks of `debug` for the host `server`, and return their messages."""
    output = run_playbook(directory, tasks, **variables)
    # One line for an error, several for a message.
    results = re.findall(r"(?ms)^(?:ok|fatal): \[server\].*?=> (\{\n.*?^\}|\{[^\n]*\})$", output)
    assert len(results) == len(tasks), output
    return [json.loads(result)["msg"] for result in results]


def run_playbook(directory: Path, tasks: list[dict[str, Any]], **variables: object) -> str:
    """Run tasks for the host `server`, and return what Ansible prints."""
    (directory / "hosts.yml").write_text(json.dumps(INVENTORY), encoding="utf-8")
    play = {"name": "A play", "hosts": "server", "connection": "local", "gather_facts": False, "tasks": tasks}
    (directory / "play.yml").write_text(json.dumps([{**play, "vars": variables}]), encoding="utf-8")
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "-i", str(directory / "hosts.yml"), str(directory / "play.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=ENVIRONMENT)
    return done.stdout + done.stderr


def debug(expression: str) -> dict[str, Any]:
    """Return a task that shows the value of an expression, and goes on where it fails."""
    return {"ansible.builtin.debug": {"msg": f"{{{{ {expression} }}}}"}, "ignore_errors": True}


def test_examples_return_what_their_names_announce(tmp_path: Path) -> None:
    assert run_tasks(tmp_path, yaml.safe_load(lookup.EXAMPLES)) == [
        [
            f"/mnt/noslop/{name}"
            for name in ("ollama/models", "comfyui/models", "comfyui/custom_nodes", "projects", "media_cache")
        ],
        "/mnt/noslop/projects",
        2604,
        [8188, 11434, 8765],
        "noslop-ollama.service",
        ["10.0.0.2"],
        [],
        [],
        [],
        [],
        "not at all",
        ["projects", "media_cache"],
        "/mnt/noslop",
        8188,
        "/opt/noslop",
    ]


def test_values_follow_variables_that_are_templates_themselves(tmp_path: Path) -> None:
    expressions = [
        "lookup('noslop.studio.studio', 'account', 'noslop-nodes').uid",
        "lookup('noslop.studio.studio', 'service', 'backend')",
        "lookup('noslop.studio.studio', 'setting', 'noslop_storage_root')",
        "lookup('noslop.studio.studio', 'setting', 'noslop_min_free_gb')",
        "lookup('noslop.studio.studio', 'setting', 'noslop_firewall_enabled')",
        "lookup('noslop.studio.studio', 'default', 'noslop_storage_root')",
        "lookup('noslop.studio.studio', 'shares', 'projects', 'media_cache') | map(attribute='path')",
        "lookup('noslop.studio.studio', 'addresses', 'all', 'empty', 'no_such_group')",
        "query('noslop.studio.studio', 'shares', 'projects')[0] | map(attribute='owner')",
        "lookup('noslop.studio.studio', 'custom_nodes', inventory_hostname) | map(attribute='name')",
        "lookup('noslop.studio.studio', 'warm_models', 'ollama')",
    ]
    moved = {"moved": 2690, "noslop_nodes_id": "{{ moved }}", "studio_backend_port": "{{ moved + 1 }}"}
    moved |= {"noslop_storage_root": "/srv/{{ moved }}", "noslop_min_free_gb": 0, "noslop_firewall_enabled": ""}
    source = {"repo": "https://git.lan/node.git", "commit": "{{ 'a' * 40 }}"}
    nodes = [{"name": "everywhere", **source}, {"name": "there", "hosts": ["server"], **source}]
    moved |= {"noslop_custom_nodes": [*nodes, {"name": "elsewhere", "hosts": ["worker"], **source}]}
    painter = {"folder": "loras", "url": "https://models.lan/{{ moved }}"}
    warm = [{**painter, "warm": True}, {**painter, "file": "own", "warm": ["server"]}, {"ollama": "a:1b", "warm": True}]
    moved |= {"noslop_models": [*warm, {"ollama": "b:1b"}, {"ollama": "c:1b", "warm": ["worker"]}]}
    backend = {
        "name": "backend",
        "title": "the backend",
        "unit": "noslop-backend.service",
        "port_variable": "studio_backend_port",
    }
    assert run_tasks(tmp_path, [debug(expression) for expression in expressions], **moved) == [
        2690,
        {**backend, "port": 2691, "account": "noslop-backend"},
        "/srv/2690",
        0,
        True,
        "/mnt/noslop",
        ["/srv/2690/projects", "/srv/2690/media_cache"],
        ["10.0.0.1", "10.0.0.2"],
        ["noslop"],
        ["everywhere", "there"],
        [{"path": "loras/own", "ollama": ""}, {"path": "", "ollama": "a:1b"}],
    ]


def test_each_host_has_the_shares_that_it_mounts_and_the_server_their_addresses(tmp_path: Path) -> None:
    extra = [
        {"name": "for_all"},
        {"name": "for_worker", "clients": ["worker"], "read_only": ["worker"]},
        {"name": "for_none", "clients": []},
    ]
    expression = "lookup('noslop.studio.studio', 'shares')[5:]"
    fields = "map(attribute='name') | zip({0} | map(attribute='writers')) | map('join', ' ')"
    server, worker, addresses = run_tasks(
        tmp_path,
        [
            debug(f"{expression} | {fields.format(expression)}"),
            {**debug(f"{expression} | {fields.format(expression)}"), "vars": {"inventory_hostname": "worker"}},
            debug(f"({expression})[1:] | map(attribute='client_addresses')"),
        ],
        noslop_extra_shares=extra,
    )
    assert server == ["for_all members", "for_worker members", "for_none members"]
    assert worker == ["for_all members", "for_worker server"]
    assert addresses == [["10.0.0.2"], []]


def test_unusable_terms_are_refused_with_what_there_is(tmp_path: Path) -> None:
    cases = {
        "'share', 'films'": "no share is called films; there are ollama_models, comfyui_models",
        "'accounts', 'noslop', 'films'": "no account is called films; there are noslop, noslop-models",
        "'account'": "account needs exactly one name, and 0 were given",
        "'constant', 'nfs_port', 'marker'": "constant needs exactly one name, and 2 were given",
        "'constant', 'films'": "no constant is called films; there are avahi_directory, avahi_unit, backend_command",
        "'setting', 'noslop_films'": "no variable is called noslop_films; there are noslop_studio_id",
        "'films'": "'films' is no subject of a studio; there are shares, accounts, services",
        "'services'": "ollama_port: 'many' is no port",
        "'custom_nodes'": "noslop_custom_nodes: entry 1 (film): write either repo and commit, or archive and sha256",
    }
    tasks = [debug(f"lookup('noslop.studio.studio', {terms})") for terms in cases]
    messages = run_tasks(tmp_path, tasks, ollama_port="many", noslop_custom_nodes=[{"name": "film"}])
    assert [case for case, message in zip(cases.values(), messages, strict=True) if case not in message] == []


def test_role_defaults_follow_the_variables_of_the_studio(tmp_path: Path) -> None:
    roles = ("nfs_server", "nfs_client", "studio_firewall", "studio_preflight", "studio_verify")
    services = {"comfyui": 8188, "ollama": 11435, "backend": 8790}
    expected: dict[str, object] = {
        "(nfs_server_accounts | selectattr('name', 'equalto', 'noslop-nodes') | first).uid": 2690,
        "studio_verify_accounts | map(attribute='uid')": [2600, 2601, 2690, 2603, 2604, 2605, 2606],
        "nfs_client_gid": 2700,
        "nfs_client_services": [f"noslop-{service}.service" for service in services],
        "nfs_client_shares | selectattr('writers', 'equalto', 'server') | map(attribute='name')": [
            "ollama_models",
            "comfyui_models",
            "comfyui_custom_nodes",
        ],
        "studio_firewall_service_ports": list(services.values()),
        "studio_firewall_service_units": [f"noslop-{service}.service" for service in services],
        "studio_firewall_storage_ports": [2049],
        "studio_preflight_ollama_units": ["noslop-ollama.service", "own.service"],
        "studio_verify_read_ahead_kb": 8192,
        **{
            f"studio_{role}_{service}_port": port
            for role in ("preflight", "verify")
            for service, port in services.items()
        },
    }
    variables: dict[str, object] = {}
    for role in roles:
        variables |= yaml.safe_load((ROLES / role / "defaults/main.yml").read_text("utf-8"))
    variables |= {
        "moved": 2690,
        "noslop_nodes_id": "{{ moved }}",
        "noslop_gid": 2700,
        "noslop_models_writers": "server",
    }
    variables |= {"nfs_client_read_ahead_kb": 8192, "ollama_existing_units": ["own.service"]}
    variables |= {"port": 8790, "studio_backend_port": "{{ port }}", "ollama_port": 11435}
    messages = run_tasks(tmp_path, [debug(expression) for expression in expected], **variables)
    assert dict(zip(expected, messages, strict=True)) == expected


def test_documentation_names_every_subject_and_constant() -> None:
    (terms,) = yaml.safe_load(lookup.DOCUMENTATION)["options"].values()
    text = " ".join(terms["description"])
    assert {f"V({subject})" for subject in lookup.SUBJECTS} <= set(re.findall(r"V\(\w+\)", text))
    assert set(re.findall(r"C\((\w+)\)", terms["description"][-1])) == set(studio.CONSTANTS)
