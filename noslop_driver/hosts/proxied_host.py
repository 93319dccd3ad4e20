# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the SSH host key of a named host behind a jump host, through ssh itself. Never logs in to the host.

ssh connects as ~/.ssh/config says, and offers the host no way to log in. The jump host is another matter: ssh logs in
there with the user's own settings, and checks its key with the user's own known_hosts.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.noslop.studio.plugins.plugin_utils.discovery import keyscan, ssh_scan

from noslop_driver.hosts.ssh_config import ResolvedHost, list_batch_proxy
from noslop_driver.models import Candidate, CandidateStatus
from noslop_driver.secrets import private_directory

_CONNECT_S = 20
_LIMIT_S = 60
_IN_FLIGHT = 8
_OPTIONS = (
    *("BatchMode=yes", "PreferredAuthentications=none", "StrictHostKeyChecking=accept-new", "HashKnownHosts=no"),
    *("GlobalKnownHostsFile=/dev/null", "VerifyHostKeyDNS=no", "UpdateHostKeys=no", "ControlPath=none"),
    *("ForwardAgent=no", "ForwardX11=no", "ClearAllForwardings=yes", "RemoteCommand=none", "LogLevel=INFO"),
    f"ConnectTimeout={_CONNECT_S}",
)
# What ssh prints, with the status and the next step; {jump} is the proxy, {name} the host. The first match counts.
_REASONS: tuple[tuple[str, CandidateStatus, str], ...] = (
    (
        r"Host key verification failed",
        "error",
        "The key of the jump host is not known to you, which is yours to check: log in there once, `ssh {jump}`.",
    ),
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED", "error", "Look at the key of the jump host: `ssh {jump}`."),
    (
        r"Permission denied|Too many authentication failures",
        "error",
        "The jump host refused your login, without a question: load its key into your ssh-agent, until `ssh -o "
        "BatchMode=yes {jump}` works.",
    ),
    (
        r"administratively prohibited",
        "error",
        "The jump host does not forward connections: allow it in its sshd_config (AllowTcpForwarding, PermitOpen).",
    ),
    (
        r"open failed: connect failed: Connection refused",
        "closed",
        "The jump host reaches it, but nothing listens there. Start its SSH server, or correct its Port.",
    ),
    (r"open failed: connect failed: .*(No route|unreachable)", "no_route", "The jump host cannot reach it: is it on?"),
    (
        r"open failed: connect failed: .*timed out",
        "timeout",
        "The jump host gets no answer from it: is it on?",
    ),
    (
        r"open failed: connect failed|Could not resolve hostname",
        "error",
        "Check HostName of {name} and of the jump host in ~/.ssh/config: `ssh -G {name}` shows them.",
    ),
    (r"connect to host .*Connection refused", "closed", "No SSH server answers on the jump host: `ssh {jump}`."),
    (r"timed out", "timeout", "Check that both are switched on: `ssh {name}`."),
)


def probe_all(hosts: Sequence[ResolvedHost]) -> list[Candidate]:
    """Return what each host shows through its proxy, in the same order."""
    with ThreadPoolExecutor(max_workers=_IN_FLIGHT) as pool:
        return list(pool.map(probe, hosts))


def probe(host: ResolvedHost) -> Candidate:
    """Return the host key that a host shows through its proxy, or the reason why it shows none."""
    address = _find_address(host)
    if not address:
        detail = f"the address of {host.address} is not known to this computer"
        todo = (
            f"The other hosts of a studio reach it by its address: write that as HostName of {host.name} into "
            "~/.ssh/config."
        )
        return _make_candidate(host, host.address, "error", detail, todo)
    with private_directory("noslop-probe-") as private:
        known_hosts = private / "known_hosts"
        command = ["ssh", "-T", *_list_arguments(host), "-o", f'UserKnownHostsFile="{known_hosts}"', "--", address]
        environment = {name: value for name, value in os.environ.items() if name not in ("SSH_ASKPASS", "DISPLAY")}
        try:
            done = subprocess.run(
                [*command, "true"],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_LIMIT_S,
                check=False,
                start_new_session=True,  # without a terminal, the login at the jump host cannot ask for anything
            )
            message = done.stderr
        except subprocess.TimeoutExpired:
            message = f"timed out after {_LIMIT_S} s"
        text = known_hosts.read_text(encoding="ascii", errors="replace") if known_hosts.exists() else ""
    keys = [key for of_host in keyscan.parse_keys(text).values() for key in of_host]
    if keys:
        return _make_candidate(host, address, "open", keys=keys)
    status, todo = _explain(host, message)
    what = f"{address} port {host.port} cannot be reached through {host.ssh.proxy}: {_get_last_line(message)}"
    return _make_candidate(host, address, status, what, todo)


def _list_arguments(host: ResolvedHost) -> list[str]:
    options = [*_OPTIONS, f"Port={host.port}"]
    return [*list_batch_proxy(host.ssh), *(word for option in options for word in ("-o", option))]


def _find_address(host: ResolvedHost) -> str:
    """Return the address of a host; empty if its name cannot be looked up here."""
    try:
        return str(ipaddress.ip_address(host.address))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host.address, host.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ""
    return str(min(found, key=lambda entry: entry[0])[4][0])


def _explain(host: ResolvedHost, message: str) -> tuple[CandidateStatus, str]:
    jump = host.ssh.proxy_jump.rpartition(",")[2] or host.name
    for pattern, status, todo in _REASONS:
        if re.search(pattern, message):
            return status, todo.format(jump=jump, name=host.name)
    return "refused", f"Try `ssh {host.name}` and read its messages."


def _get_last_line(message: str) -> str:
    """Return the line with the reason: ssh prints what follows from it after it."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    known = [line for line in lines if any(re.search(pattern, line) for pattern, _status, _todo in _REASONS)]
    line = next(iter(known), lines[-1] if lines else "ssh printed nothing")
    return "".join(char for char in line if char.isprintable())


def _make_candidate(
    host: ResolvedHost,
    address: str,
    status: CandidateStatus,
    detail: str = "",
    todo: str = "",
    *,
    keys: Sequence[str] = (),
) -> Candidate:
    return Candidate(
        address=address,
        port=host.port,
        hostname=host.name,
        host_key=ssh_scan.fingerprint(keys[0]) if keys else None,
        host_keys=list(keys),
        addresses=[address],
        named=not host.origin,
        origin=host.origin,
        user=host.user,
        ssh=host.ssh,
        status=status,
        detail=detail,
        todo=todo,
    )
