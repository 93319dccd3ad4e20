# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find out whether a service answers this computer, and why not; and compose the SSH command that gets there."""

from __future__ import annotations

import errno
import ipaddress
import shlex
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks import server_connection, service_probe
from ansible_collections.noslop.studio.plugins.module_utils.checks.service_checks import LIGHT_PATHS
from ansible_collections.noslop.studio.plugins.module_utils.host.addresses import as_ip, parse_network
from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.scan_targets import SSH_PORT

from noslop_driver.inventory.directory import Member

CONNECT_S = 5.0
LISTEN_VARIABLES = {
    "comfyui": "comfyui_listen_address",
    "ollama": "ollama_listen_address",
    "backend": "studio_backend_listen_address",
}
"""The variable of each service with the address on which it listens."""
_ALL_ADDRESSES = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared with, not listened on


def find_problem(service: str, address: str, port: int, members: Sequence[Member]) -> str:
    """Return why a service does not answer this computer, as a sentence; empty if it answers.

    Args:
        service: its name.
        address: the address of its host in the studio.
        port: its port.
        members: the hosts of the studio, whose variables say what the firewall lets in.
    """
    where = f"{address}:{port}"
    try:
        socket.create_connection((address, port), timeout=CONNECT_S).close()
    except OSError as error:
        firewall = explain_firewall(server_connection.read_source_address(address), members)
        if isinstance(error, TimeoutError):
            return f"{where} did not answer within {CONNECT_S:g} s, as behind a firewall. {firewall}"
        if error.errno == errno.ECONNREFUSED:
            title = studio.SERVICES[service].title
            return (
                f"Nothing listens on {where} for this computer: {title} does not run, or listens on its own host only. "
                "'noslop-driver status' says which."
            )
        return f"{where} cannot be reached ({error.strerror or error}). {firewall}"
    answer = service_probe.get_json(address, port, LIGHT_PATHS[service], CONNECT_S)
    return f"{where} answers, and not as {studio.SERVICES[service].title} does: {answer.error}." if answer.error else ""


def explain_firewall(source: str, members: Sequence[Member]) -> str:
    """Return what the studio's firewall does with packets from an address, as far as the inventory says; a sentence."""
    variables = members[0].variables if members else {}
    if not _is_set(variables.get("noslop_firewall_enabled", True)):
        return "The studio's firewall is off, so each service answers on its own host only."
    if source and _is_let_in(source, members, variables.get("noslop_allowed_networks") or []):
        return f"The studio's firewall lets {source} in: see whether the host is switched on, and for other firewalls."
    return (
        f"The studio's firewall refuses {source or 'this computer'}: it is no member, and in no network of "
        "noslop_allowed_networks. 'noslop-driver deploy --allow NETWORK' opens the services to a network."
    )


def compose_tunnel(member: Member, service: str, port: int, known_hosts: Path) -> tuple[str, str]:
    """Return the `ssh -L` command that gets to a service, and the URL to open while it runs.

    Args:
        member: the host of the service.
        service: its name.
        port: its port.
        known_hosts: the studio's file with the accepted keys; used where it exists.
    """
    listens = str(member.variables.get(LISTEN_VARIABLES[service]) or "127.0.0.1")
    target = _ALL_ADDRESSES.get(listens, f"[{listens}]" if ":" in listens else listens)
    local_port = _find_port(port)
    words = ["ssh", "-N", "-L", f"{local_port}:{target}:{port}"]
    if known_hosts.exists():
        words += ["-o", f'UserKnownHostsFile="{known_hosts.absolute()}"']
    if key := member.variables.get("ansible_ssh_private_key_file"):
        words += ["-i", str(key)]
    if member.port != SSH_PORT:
        words += ["-p", str(member.port)]
    return shlex.join([*words, f"{member.user}@{member.address}"]), f"http://127.0.0.1:{local_port}"


def _find_port(wanted: int) -> int:
    """Return a port of loopback that is free: the wanted one where it can be."""
    for port in (wanted, 0):
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(one.getsockname()[1])
    return wanted


def _is_let_in(source: str, members: Iterable[Member], networks: Iterable[object]) -> bool:
    address = ipaddress.ip_address(source)
    if address.is_loopback or any(as_ip(member.studio_address) == source for member in members):
        return True
    for network in networks:
        try:
            if address in parse_network(network):
                return True
        except ValueError:
            continue  # preflight refuses it
    return False


def _is_set(value: Any) -> bool:  # noqa: ANN401 - a variable of an inventory
    """Return whether a variable is true, as Ansible reads it."""
    return str(value).lower() in ("true", "yes", "on", "1")
