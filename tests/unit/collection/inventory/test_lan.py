# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the inventory plugin noslop.studio.lan with Ansible's own programs and real SSH servers on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.mdns_network import Network
from tests.support.sshd import free_port
from tests.unit.conftest import StartSshd
from tests.unit.driver.hosts.test_discovery import run_listener

ROOT = Path(__file__).parents[4]


def ansible(
    directory: Path, program: str, *arguments: str, before: Sequence[str] = (), modules: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a program of ansible-core in `directory`, with the checkout's collection and no other configuration.

    `before` is a command that becomes the program; `modules` is a directory of Python modules, which come first.
    """
    (directory / "ansible.cfg").touch()  # otherwise the user's own would be read
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_HOME": str(directory / "ansible"),
        "PYTHONPATH": modules,
    }
    return subprocess.run(
        [*before, Path(sys.executable).parent / program, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        env=environment,
    )


def write(directory: Path, **options: object) -> Path:
    file = directory / "lan.noslop.yml"
    file.write_text(json.dumps({"plugin": "noslop.studio.lan", "timeout": 20, **options}), encoding="utf-8")
    return file


def inventory(directory: Path, *arguments: str) -> dict[str, Any]:
    done = ansible(directory, "ansible-inventory", "-i", "lan.noslop.yml", *arguments)
    assert done.returncode == 0, done.stderr
    listing: dict[str, Any] = json.loads(done.stdout)
    return listing


def test_graph_lists_each_machine_once(tmp_path: Path, sshd_server: StartSshd) -> None:
    first = sshd_server("127.0.0.10", "127.0.0.12")
    sshd_server("127.0.0.11", port=first.port)
    write(tmp_path, networks=["127.0.0.8/29"], port=first.port)
    done = ansible(tmp_path, "ansible-inventory", "-i", "lan.noslop.yml", "--graph")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["@all:", "|--@ungrouped:", "|--@lan:", "|", "|--127.0.0.10", "|", "|--127.0.0.11"]


def test_variables_and_groups_come_from_the_scan(tmp_path: Path, sshd_server: StartSshd) -> None:
    server = sshd_server("127.0.0.10", "127.0.0.12")
    write(
        tmp_path,
        networks=["127.0.0.8/29"],
        hosts=[f"localhost:{free_port('127.0.0.1')}"],
        port=server.port,
        group="machines",
        compose={"ansible_user": "'artist'"},
        groups={"openssh": "'OpenSSH' in noslop_lan_banner", "other": "false"},
    )
    variables = inventory(tmp_path, "--host", "127.0.0.10")
    assert variables.pop("noslop_lan_banner").startswith("SSH-2.0-OpenSSH")
    assert variables == {
        "ansible_host": "127.0.0.10",
        "ansible_port": server.port,
        "ansible_user": "artist",
        "noslop_lan_addresses": ["127.0.0.10", "127.0.0.12"],
        "noslop_lan_announced": "",
        "noslop_lan_host_key": server.fingerprint,
    }
    listing = inventory(tmp_path, "--list")
    assert listing["machines"]["hosts"] == ["127.0.0.10"]
    assert listing["openssh"]["hosts"] == ["127.0.0.10"]
    assert "other" not in listing


def test_scanned_machine_can_be_connected_to(tmp_path: Path, sshd_server: StartSshd) -> None:
    server = sshd_server("127.0.0.1")
    write(tmp_path, hosts=[f"localhost:{server.port}"])
    ssh = f"-o UserKnownHostsFile={tmp_path}/known_hosts -o StrictHostKeyChecking=accept-new -o ControlMaster=no"
    done = ansible(
        tmp_path, "ansible", "-i", "lan.noslop.yml", "lan", "-m", "ansible.builtin.raw", "-a", "echo $SSH_CONNECTION",
        "--private-key", str(server.client_key), f"--ssh-common-args={ssh}",
    )  # fmt: skip
    assert f"127.0.0.1 {server.port}" in done.stdout, done.stdout + done.stderr


def test_cached_result_replaces_second_scan(tmp_path: Path, sshd_server: StartSshd) -> None:
    server = sshd_server("127.0.0.10")
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(tmp_path / "cache")}
    write(tmp_path, networks=["127.0.0.8/29"], port=server.port, **cache)
    first = inventory(tmp_path, "--list")
    server.stop()
    assert inventory(tmp_path, "--list") == first
    assert "lan" not in inventory(tmp_path, "--list", "--flush-cache")


def test_empty_scan_warns_with_reason(tmp_path: Path) -> None:
    write(tmp_path, networks=["127.0.0.8/29"], hosts=["render..1"], port=free_port("127.0.0.9"))
    done = ansible(tmp_path, "ansible-inventory", "-i", "lan.noslop.yml", "--list")
    output = " ".join(done.stderr.split())
    assert done.returncode == 0
    assert "No SSH server was found." in output
    assert "127.0.0.8/29 (named): 6 addresses" in output
    assert "6 there without one" in output
    assert "render..1: the name render..1 could not be looked up" in output


def test_too_large_network_is_refused(tmp_path: Path) -> None:
    write(tmp_path, networks=["127.0.0.0/8"])
    done = ansible(tmp_path, "ansible-inventory", "-i", "lan.noslop.yml", "--list")
    assert "127.0.0.0/8 has 16777216 addresses; a scan covers at most a /20" in " ".join(done.stderr.split())


def test_file_of_another_name_starts_no_scan(tmp_path: Path, sshd_server: StartSshd) -> None:
    server = sshd_server("127.0.0.10")
    write(tmp_path, hosts=[server.host]).rename(tmp_path / "office.yml")
    done = ansible(tmp_path, "ansible-inventory", "-i", "office.yml", "--list")
    server.stop()
    assert "lan" not in json.loads(done.stdout)
    assert not any(line.startswith("Connection from") for line in server.log)


def test_server_greeting_is_never_a_template(tmp_path: Path) -> None:
    port = free_port("127.0.0.10")
    write(tmp_path, hosts=[f"127.0.0.10:{port}"])
    with run_listener("127.0.0.10", port, b"SSH-2.0-{{ 6 * 7 }}\r\n"):
        variables = inventory(tmp_path, "--host", "127.0.0.10")
    assert variables["noslop_lan_banner"] == "SSH-2.0-{{ 6 * 7 }}"
    shown = "ansible.builtin.debug", "-a", "msg={{ noslop_lan_banner }}"
    with run_listener("127.0.0.10", port, b"SSH-2.0-{{ 6 * 7 }}\r\n"):
        done = ansible(tmp_path, "ansible", "-i", "lan.noslop.yml", "lan", "-m", *shown)
    assert "SSH-2.0-{{ 6 * 7 }}" in done.stdout


@pytest.mark.parametrize("options", [{}, {"mdns": False}])
def test_machine_that_announces_another_port_is_listed_unless_switched_off(
    tmp_path: Path, mdns_network: Network, options: dict[str, bool]
) -> None:
    mdns_network.add_server("10.66.0.2", 2222)
    service = {"type": "_ssh._tcp.local.", "name": "{{ 6 * 7 }}", "server": "{{ 6 * 7 }}.local.", "port": 2222}
    mdns_network.announce("10.66.0.2", {**service, "addresses": ["10.66.0.2"]})
    write(tmp_path, networks=["10.66.0.0/28"], timeout=0.5, **options)
    done = ansible(tmp_path, "ansible-inventory", "-i", "lan.noslop.yml", "--list", before=mdns_network.searcher.enter)
    hosts = json.loads(done.stdout)["_meta"]["hostvars"]
    assert list(hosts) == ([] if options else ["10.66.0.2"])
    if not options:
        assert hosts["10.66.0.2"]["ansible_port"] == 2222
        assert hosts["10.66.0.2"]["noslop_lan_announced"] == {"__ansible_unsafe": "{{ 6 * 7 }}"}


@pytest.mark.parametrize("options", [{}, {"mdns": True}])
def test_scan_works_without_the_library_and_warns_where_it_was_asked_for(
    tmp_path: Path, sshd_server: StartSshd, options: dict[str, bool]
) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/zeroconf.py").write_text("raise ImportError", encoding="ascii")
    server = sshd_server("127.0.0.10")
    write(tmp_path, networks=["127.0.0.8/29"], port=server.port, **options)
    arguments = ("-i", "lan.noslop.yml", "--list")
    done = ansible(tmp_path, "ansible-inventory", *arguments, modules=str(tmp_path / "modules"))
    assert json.loads(done.stdout)["lan"]["hosts"] == ["127.0.0.10"]
    assert ("zeroconf is not installed" in " ".join(done.stderr.split())) == bool(options)
