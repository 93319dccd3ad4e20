# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what the role studio_announce writes and removes, and that a real Avahi announces it."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from noslop_driver.hosts.discovery import Discovery
from tests.support.mdns_network import Network

REPOSITORY = Path(__file__).parents[4]
ROLES = "collections/ansible_collections/noslop/studio/roles"
#: Has a view of /etc and /var/lib of its own, which is thrown away with the command.
PRIVATE = """
mount -t tmpfs none /mnt
for directory in /etc /var/lib; do
    mkdir -p /mnt$directory/upper /mnt$directory/work
    mount -t overlay -o lowerdir=$directory,upperdir=/mnt$directory/upper,workdir=/mnt$directory/work none $directory
done
mkdir -p /etc/avahi/services
"""
AVAHI = shutil.which("avahi-daemon", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
AVAHI_CONF = "[server]\nhost-name=render1\nenable-dbus=no\nuse-ipv6=no\nallow-interfaces=eth0\n"
SSH_SERVICE = (
    '<service-group><name replace-wildcards="yes">%h</name><service><type>_ssh._tcp</type><port>2222</port></service>'
    "</service-group>"
)
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may write files for root")


def make_play(*runs: dict[str, Any], entry: str = "configure") -> list[dict[str, Any]]:
    """Return a play that runs a part of the role once with each of these variables."""
    role = {"name": "noslop.studio.studio_announce", "tasks_from": entry}
    tasks = [{"name": "Run the role", "ansible.builtin.include_role": role, "vars": run} for run in runs]
    return [{"name": "A play", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]


def run_play(directory: Path, play: list[dict[str, Any]], script: str = "", *options: str) -> str:
    """Run a play in a mount namespace of its own, then a script there. Return what both printed."""
    (directory / "play.yml").write_text(json.dumps(play), encoding="utf-8")
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    variables = {"ansible_python_interpreter": sys.executable, "noslop_studio_id": "test"}
    command = [program, "--extra-vars", json.dumps(variables), *options, str(directory / "play.yml")]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-ec",
            f'{PRIVATE}echo mine > /etc/avahi/services/mine.service\n"$@"\n{script}',
            "sh",
            *command,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def announce(*services: str, **variables: object) -> dict[str, Any]:
    return {"studio_announce_services": services, "noslop_announce": True, **variables}


def read_files(printed: str) -> dict[str, ElementTree.Element]:
    """Return the service files that the script printed after the play, by their names."""
    parts = printed.partition("FILES\n")[2].split("FILE ")[1:]
    return {name: ElementTree.fromstring(text) for name, _line, text in (part.partition("\n") for part in parts)}  # noqa: S314 (our own files)


SHOW = """
echo FILES
for file in /etc/avahi/services/noslop-*; do
    [ ! -e "$file" ] || { echo "FILE ${file##*/}"; cat "$file"; }
done
"""


@root_only
def test_services_of_the_host_are_written_with_their_ports(tmp_path: Path) -> None:
    files = read_files(run_play(tmp_path, make_play(announce("backend", "ollama", ollama_port=11500)), SHOW))
    assert list(files) == ["noslop-backend.service", "noslop-ollama.service"]
    backend, ollama = files.values()
    assert backend.findtext("name") == "NoSlop STUDIO"
    assert [backend.findtext(f"service/{tag}") for tag in ("type", "port")] == ["_http._tcp", "8765"]
    assert ollama.findtext("name") == "Ollama on %h"
    assert ollama.findtext("service/subtype") == "_noslop-ollama._sub._http._tcp"
    assert ollama.findtext("service/port") == "11500"
    assert [record.text for record in ollama.iter("txt-record")] == ["path=/", "service=ollama"]


@root_only
def test_shares_are_announced_as_the_role_smb_server_says(tmp_path: Path) -> None:
    tasks = yaml.safe_load((REPOSITORY / ROLES / "smb_server/tasks/discovery.yml").read_text("utf-8"))
    (task,) = [task for task in tasks if "import_role" in " ".join(task)]
    play = make_play({**task["vars"], "smb_server_discovery": True})
    play[0]["vars_files"] = [str(REPOSITORY / ROLES / f"smb_server/{part}/main.yml") for part in ("defaults", "vars")]
    ((name, shares),) = read_files(run_play(tmp_path, play, SHOW)).items()
    assert name == "noslop-smb.service"
    assert [service.findtext("port") for service in shares.iter("service")] == ["445", "0"]
    assert [service.findtext("type") for service in shares.iter("service")] == ["_smb._tcp", "_device-info._tcp"]
    assert shares.findtext("service/txt-record") == "model=RackMac"
    play[0]["tasks"][0]["vars"]["smb_server_discovery"] = False
    assert read_files(run_play(tmp_path, play, SHOW)) == {}


@root_only
@pytest.mark.slow
def test_second_run_changes_nothing_and_switching_off_removes_own_files_only(tmp_path: Path) -> None:
    both, one = announce("comfyui", "backend"), announce("comfyui")
    play = make_play(both, both, one, {}, one) + make_play(one, entry="teardown")
    printed = run_play(tmp_path, play, "ls /etc/avahi/services")
    assert printed.rstrip().endswith("\nmine.service")
    lines = printed.splitlines()
    results = [(name, after) for name, after in itertools.pairwise(lines) if "configure | Write" in name]
    # Written, the same again, one removed, all removed, one written, torn down.
    expected = ["changed", "ok", "changed", "changed", "changed", "changed"]
    assert [after.partition(":")[0] for _name, after in results] == expected


@root_only
def test_nothing_is_announced_by_default_or_without_the_firewall(tmp_path: Path) -> None:
    off = announce("backend", noslop_firewall_enabled=False)
    printed = run_play(tmp_path, make_play({"studio_announce_services": ["backend"]}, off), SHOW)
    assert read_files(printed) == {}
    assert "changed=0" in printed


@root_only
@pytest.mark.slow
def test_check_mode_works_on_a_fresh_host_and_writes_nothing(tmp_path: Path) -> None:
    printed = run_play(tmp_path, make_play(announce("backend"), entry="main"), SHOW, "--check")
    assert read_files(printed) == {}
    assert "failed=0" in printed


def render(announced: dict[str, Any]) -> str:
    """Return a service file as the role's template makes it."""
    request = {"template": "studio_announce/templates/avahi.service.j2", "variables": {"announced": announced}}
    done = subprocess.run(
        [sys.executable, REPOSITORY / "tests/support/template_renderer.py"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    return str(json.loads(done.stdout))


BROWSE = """
import sys, threading, zeroconf
shown = threading.Event()
class Listener(zeroconf.ServiceListener):
    def add_service(self, browser, kind, name):
        info = browser.get_service_info(kind, name, timeout=10000)
        print(name, info.port, info.parsed_addresses()[0], info.properties[b"service"].decode())
        shown.set()
    def update_service(self, *words): pass
    remove_service = update_service
searcher = zeroconf.Zeroconf(interfaces=["10.66.0.1"])
searcher.add_service_listener(sys.argv[1], Listener())
shown.wait()
searcher.close()
"""


@root_only
@pytest.mark.skipif(AVAHI is None, reason="avahi-daemon is not installed")
@pytest.mark.slow
def test_avahi_announces_the_files_and_discovery_reads_avahi(tmp_path: Path, mdns_network: Network) -> None:
    services = tmp_path / "avahi/services"
    services.mkdir(parents=True)
    service = {"type": "_http._tcp", "subtypes": ["_noslop-backend._sub._http._tcp"], "port": 8765}
    text = render({"title": "NoSlop STUDIO", "services": [{**service, "txt": ["path=/", "service=backend"]}]})
    (services / "noslop-backend.service").write_text(text, encoding="utf-8")
    (services / "ssh.service").write_text(SSH_SERVICE, encoding="utf-8")
    (tmp_path / "avahi/avahi-daemon.conf").write_text(AVAHI_CONF, encoding="utf-8")
    mdns_network.add_server("10.66.0.2", 2222)
    with run_avahi(mdns_network, tmp_path / "avahi"):
        browse = [*mdns_network.searcher.enter, sys.executable, "-c", BROWSE]
        printed = [
            subprocess.run([*browse, kind], capture_output=True, text=True, check=True).stdout
            for kind in ("_http._tcp.local.", "_noslop-backend._sub._http._tcp.local.")
        ]
        done = mdns_network.search("--network", "10.66.0.0/28", "--json")
    assert printed[0].startswith("NoSlop STUDIO._http._tcp.local. 8765 10.66.0.")
    assert printed[1].split()[-1] == "backend"
    values = json.loads(done.stdout)
    (candidate,) = Discovery.model_validate({name: values[name] for name in Discovery.model_fields}).candidates
    assert (candidate.address, candidate.port, candidate.announced) == ("10.66.0.2", 2222, "render1")


@contextlib.contextmanager
def run_avahi(network: Network, directory: Path) -> Iterator[None]:
    """Run Avahi on the machines' side with the files of a directory, in a view of the system of its own."""
    script = f"""{PRIVATE}
mount -t tmpfs none /run
echo avahi:x:986:986::/:/usr/sbin/nologin >> /etc/passwd
echo avahi:x:986: >> /etc/group
mount --bind {directory} /etc/avahi
exec {AVAHI} --no-drop-root --no-chroot --no-rlimits --no-proc-title
"""
    command = [*network.machines.enter, "unshare", "--mount", "sh", "-ec", script]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr
        try:
            lines = list(itertools.takewhile(lambda line: "Server startup complete" not in line, daemon.stderr))
            assert daemon.poll() is None, "".join(lines)
            yield
        finally:
            daemon.terminate()
