# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what the roles write for NFS over TLS, what they refuse, and when a server refuses clients without it."""

from __future__ import annotations

import configparser
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
COLLECTION = REPOSITORY / "collections/ansible_collections/noslop/studio"
DIRECTORY = {"path": "/mnt/noslop/projects", "file_system_root": True, "disk": ""}
PROJECTS = {"name": "projects", "path": "/mnt/noslop/projects", "kind": "work", "owner": "noslop", "writers": "members"}
EXPORTS: dict[str, Any] = {
    "nfs_server_clients": ["10.0.0.2"],
    "nfs_server_shares": [PROJECTS],
    "__nfs_server_directories": {"shares": [{"name": "projects", **DIRECTORY}]},
}


def render(template: str, **variables: object) -> str:
    """Render a template of a role with the role's own defaults."""
    known = {"noslop_studio_id": "test", "inventory_hostname": "host", "noslop_address": "10.0.0.1", **variables}
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "tests/support/template_renderer.py")],
        input=json.dumps({"template": template, "variables": known}),
        capture_output=True,
        text=True,
        check=True,
    )
    return str(json.loads(done.stdout))


def run_play(
    directory: Path, play: dict[str, Any], variables: dict[str, Any], *words: str
) -> subprocess.CompletedProcess[str]:
    path = directory / "play.yml"
    path.write_text(json.dumps([{"name": "A play", "connection": "local", "gather_facts": False, **play}]))
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "--extra-vars", json.dumps(variables), *words, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environment)


@pytest.mark.parametrize(
    ("transport", "accepted", "option"),
    [
        ("plain", None, ""),
        ("mtls", None, ",xprtsec=mtls"),
        ("tls", None, ",xprtsec=tls:mtls"),
        ("mtls", ["none", "tls", "mtls"], ""),
        ("plain", ["none", "tls", "mtls"], ""),
        ("mtls", ["tls", "mtls"], ",xprtsec=tls:mtls"),
    ],
)
def test_exports_accept_the_chosen_clients_and_during_a_change_those_of_before(
    transport: str, accepted: list[str] | None, option: str
) -> None:
    current = {"__nfs_server_current": {"accepted": accepted}} if accepted else {}

    text = render("nfs_server/templates/noslop.exports.j2", noslop_nfs_transport=transport, **EXPORTS, **current)

    line = next(line for line in text.splitlines() if line.startswith("/"))
    options = "rw,sync,all_squash,anonuid=2600,anongid=2600,no_subtree_check,sec=sys"
    assert line == f"/mnt/noslop/projects 10.0.0.2({options}{option})"


@pytest.mark.parametrize(
    "own", [{}, {"authority": "/etc/ssl/ca.pem", "certificate": "/etc/ssl/a.pem", "key": "/k.pem"}]
)
def test_both_sides_of_a_handshake_have_the_same_certificates(own: dict[str, str]) -> None:
    parser = configparser.ConfigParser()
    parser.read_string(render("nfs_tls/templates/tlshd.conf.j2", nfs_tls_own_files=own))

    directory = f"{studio.TLS_DIR}/"
    expected = own or {name: f"{directory}{name}.pem" for name in ("authority", "certificate", "key")}
    for side in ("authenticate.client", "authenticate.server"):
        assert dict(parser[side]) == {
            "x509.truststore": expected["authority"],
            "x509.certificate": expected["certificate"],
            "x509.private_key": expected["key"],
        }


@pytest.mark.parametrize("server", [True, False])
def test_service_reads_the_studios_settings_and_asks_no_name_server_on_the_server(server: bool) -> None:
    lines = render("nfs_tls/templates/tlshd.service.conf.j2", nfs_tls_server=server).splitlines()

    starts = [line for line in lines if line.startswith("ExecStart=")]
    assert starts == ["ExecStart=", f"ExecStart=/usr/sbin/tlshd --config {studio.TLS_DIR}/tlshd.conf"]
    assert "Before=nfs-server.service" in lines
    assert (f"BindReadOnlyPaths={studio.TLS_DIR}/nsswitch.conf:/etc/nsswitch.conf" in lines) == server


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"nfs_tls_address": "fd00::1"}, "found fd00::1"),
        ({"nfs_tls_own_files": {"authority": "/etc/ssl/ca.pem"}}, "found authority"),
        ({"nfs_tls_own_files": {"authority": "ca.pem", "certificate": "/a.pem", "key": "/k.pem"}}, "absolute paths"),
        ({"nfs_tls_authority_file": "authority.pem"}, "found authority.pem"),
    ],
)
def test_unusable_setting_is_refused(tmp_path: Path, variables: dict[str, Any], named: str) -> None:
    role = {"ansible.builtin.include_role": {"name": "noslop.studio.nfs_tls", "tasks_from": "preflight"}}
    usable = {"noslop_studio_id": "test", "noslop_nfs_transport": "mtls", "nfs_tls_address": "10.0.0.1"}
    usable["nfs_tls_authority_file"] = "/root/authority.pem"

    done = run_play(tmp_path, {"hosts": "localhost", "tasks": [role]}, {**usable, **variables})

    assert done.returncode != 0
    assert named in " ".join(done.stdout.split())
    assert run_play(tmp_path, {"hosts": "localhost", "tasks": [role]}, usable).returncode == 0


def test_server_of_macs_over_nfs_is_refused(tmp_path: Path) -> None:
    role = {"ansible.builtin.include_role": {"name": "noslop.studio.nfs_server", "tasks_from": "preflight"}}
    variables = {"noslop_studio_id": "test", "nfs_server_clients": ["10.0.0.2"]}
    macs = {"noslop_nfs_transport": "mtls", "nfs_server_insecure_clients": ["192.168.1.7"]}

    done = run_play(tmp_path, {"hosts": "localhost", "tasks": [role]}, {**variables, **macs})

    assert done.returncode != 0
    assert "macOS has no NFS over TLS" in done.stdout


@pytest.mark.parametrize("transport", ["plain", "tls", "mtls"])
def test_clients_mount_with_the_chosen_transport(tmp_path: Path, transport: str) -> None:
    result = tmp_path / "mounts.json"
    play = {
        "hosts": "localhost",
        "vars_files": [str(COLLECTION / f"roles/nfs_client/{part}/main.yml") for part in ("defaults", "vars")],
        "tasks": [{"ansible.builtin.copy": {"content": "{{ __nfs_client_mounts | to_json }}", "dest": str(result)}}],
    }

    done = run_play(tmp_path, play, {"noslop_studio_id": "test", "noslop_nfs_transport": transport})

    assert done.returncode == 0, done.stdout + done.stderr
    options = [mount["options"].split(",") for mount in json.loads(result.read_text())]
    assert options
    wanted = [] if transport == "plain" else [f"xprtsec={transport}"]
    assert all([word for word in words if word.startswith("xprtsec")] == wanted for words in options)


def test_client_that_failed_or_was_not_reached_keeps_the_server_open(tmp_path: Path) -> None:
    plays = yaml.safe_load((COLLECTION / "playbooks/storage.yml").read_text("utf-8"))
    tasks = [task for play in plays for task in play.get("tasks", []) if "ansible.builtin.set_fact" in task]
    (expression,) = [task["ansible.builtin.set_fact"]["storage_late_clients"] for task in tasks]
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    results: dict[str, dict[str, Any]] = {"done": {"mounted": []}, "refused": {"failed": True}}
    hosts: dict[str, dict[str, Any]] = {name: dict(local) for name in ("server", "done", "refused", "off")}
    for name, result in results.items():
        hosts[name]["__nfs_client_result"] = result
    groups: dict[str, Any] = {"storage_clients": {"hosts": {name: {} for name in ("done", "refused", "off")}}}
    inventory = tmp_path / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "children": groups}}))
    late = tmp_path / "late.json"
    task = {"ansible.builtin.copy": {"content": "{{ late_clients | to_json }}", "dest": str(late)}}

    done = run_play(
        tmp_path, {"hosts": "server", "vars": {"late_clients": expression}, "tasks": [task]}, {}, "-i", str(inventory)
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(late.read_text()) == ["refused", "off"]
