# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Explain why a login failed: turn the messages of ssh, sudo and Ansible into problems with the next step.

The patterns are messages of OpenSSH (sshconnect2.c, sshconnect.c), sudo (its `sudoers` messages) and ansible-core
(plugins/connection/ssh.py). A message that matches none is shown as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.plugin_utils.discovery.scan_targets import SSH_PORT

from noslop_driver.models import Endpoint, Problem

UNRECOGNISED = "failed"
"""The kind of a problem whose message is none of those below."""


@dataclass(frozen=True)
class _Reason:
    kind: str
    pattern: str
    what: str
    todo: str


# The first match counts; texts are formatted with host, address, port and user.
_REASONS = (
    _Reason(
        "host_key_changed",
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "{host} shows another SSH host key than the one that was pinned",
        "If it was installed anew, forget its old key: `ssh-keygen -f <studio>/.noslop/known_hosts -R {key_name}`, and "
        "run again. If it was not, another machine may answer in its place: do not continue.",
    ),
    _Reason(
        "host_key_unknown",
        r"Host key verification failed|host key is known for",
        "the SSH host key of {host} is not known",
        "Run `noslop-driver plan` at a terminal and name it in the list of new keys, or pass its key in a file "
        "(--host-keys FILE).",
    ),
    _Reason(
        "sudo_password_missing",
        # The last one is the message of sudo-rs for `sudo -n`.
        r"Missing \w+ password|a password is required|no password was provided|interactive authentication is required",
        "sudo on {host} needs the password of {user}",
        "Give it with --ask-become-pass, or let {user} use sudo without one.",
    ),
    _Reason(
        "sudo_password_wrong",
        r"Incorrect \w+ password|Sorry, try again|incorrect (password|authentication) attempt|"
        r"Authentication failed, try again|doas: Authentication failed|Duplicate become password prompt",
        "{host} refused the sudo password of {user}",
        "Give the password that {user} has on {host}. Where it differs, a file has one for each host "
        "(--become-pass-file NAME.yml).",
    ),
    _Reason(
        "sudo_timeout",
        r"waiting for (privilege escalation prompt|become success)",
        "sudo on {host} did not answer in time; whether {user} may use it is not known",
        "Try it there: `ssh -t -p {port} {user}@{address} sudo -k true`. If that asks for more than a password (a "
        "token, a fingerprint), or waits long, correct that. If it is sudo-rs (`sudo --version`), write "
        "`ansible_become_method: noslop.studio.sudo` for {host} into the inventory.",
    ),
    _Reason(
        "become_method_missing",
        r"(Invalid become method specified|could not find matching plugin|become plugin .* not found)",
        "the way to become root on {host} is not installed on this computer",
        "Install the collection that has it (community.general for doas: ansible-galaxy collection install "
        "community.general), or correct ansible_become_method of {host} in the inventory.",
    ),
    _Reason(
        "sudo_missing",
        r"sudo: (command )?not found|sudo: No such file",
        "{host} has no sudo",
        "Install it as root there (Debian: apt install sudo) and let {user} use it: usermod -aG sudo {user}.",
    ),
    _Reason(
        "sudo_refused",
        r"not in the sudoers file|may not run sudo|is not allowed to (run|execute)|no new privileges|"
        r"doas: Operation not permitted",
        "{user} may not become root on {host}",
        "Let it use sudo, as root there: `usermod -aG sudo {user}`; or use an account that may (--user).",
    ),
    _Reason(
        "auth_refused",
        r"Too many authentication failures",
        "{host} ended the login of {user} before the right key came: ssh offers every key of your ssh-agent",
        "Name the key (--ssh-key KEY): then no other one is offered. Or unload some of them (ssh-add -d).",
    ),
    _Reason(
        "auth_refused",
        r"Permission denied|[Ii]nvalid/incorrect (username/)?password|"
        r"[Nn]o (supported|more) authentication methods",
        "{host} refused the login of {user}",
        "Check the account (--user) and give its key (--ssh-key) or password (--ask-pass). "
        "`noslop-driver ssh-setup {user}@{host_port}` puts your key there.",
    ),
    _Reason(
        "no_sshpass",
        r"install the sshpass program",
        "this computer cannot send an SSH password",
        "Install sshpass on this computer (Debian: apt install sshpass), or use a key (--ssh-key).",
    ),
    _Reason(
        "no_python",
        r"interpreter .*not found|python[0-9.]*: (command )?not found|No (usable )?python interpreter",
        "{host} has no Python, which Ansible needs there",
        "Install it as root there (Debian: apt install python3).",
    ),
    _Reason(
        "name",
        r"Could not resolve hostname",
        "the name of {host} cannot be looked up",
        "Check the spelling, or name its address instead.",
    ),
    _Reason(
        "closed",
        r"Connection refused",
        "{host} answers, but nothing listens on port {port}",
        "Start the SSH server there, or name its port.",
    ),
    _Reason(
        "no_route",
        r"No route to host|Network is unreachable",
        "{host} cannot be reached",
        "Check that it is switched on and in a network that this computer is in or has a route to.",
    ),
    _Reason(
        "timeout",
        r"[Tt]imed out|Timeout",
        "{host} did not answer in time",
        "Check that it is switched on and not too busy to answer; then run again.",
    ),
    _Reason(
        "refused",
        r"Connection (closed|reset) by|Connection to \S+ closed|kex_exchange_identification",
        "{host} closed the connection",
        "Look at the log of its SSH server; it may limit connections (MaxStartups, PerSourcePenalties).",
    ),
    _Reason(
        "not_sent",
        r"Data could not be sent",
        "{host} ended the connection before it took what Ansible sent",
        "Run again; if it stays so, try `ssh -p {port} {user}@{address}` and read its messages.",
    ),
)

_LONGEST_QUOTE = 300
_PREFIX = (
    r"^(Task failed: )?(Failed to connect to the host via ssh: |"
    r"Data could not be sent to remote host \S+ Make sure this host can be reached over ssh: )?"
)


def explain(endpoint: Endpoint, user: str, message: str, *, fatal: bool = False) -> Problem:
    """Return the problem of a login for a message of Ansible.

    Args:
        endpoint: the host that `user` logged in to.
        user: the account of the login.
        message: the message of the failed task, or of the host that could not be reached.
        fatal: True if the command cannot continue without this host.
    """
    key_name = endpoint.address if endpoint.port == SSH_PORT else f"'[{endpoint.address}]:{endpoint.port}'"
    names = {
        "host": _format_name(endpoint),
        "address": endpoint.address,
        "port": endpoint.port,
        "user": user,
        "key_name": key_name,
        "host_port": _format_target(endpoint),
    }
    for reason in _REASONS:
        if re.search(reason.pattern, message):
            return Problem(
                kind=reason.kind,
                host=endpoint.name,
                what=f"{reason.what.format(**names)} ({_quote(message, reason.pattern)}).",
                todo=reason.todo.format(**names),
                fatal=fatal,
            )
    return Problem(
        kind=UNRECOGNISED,
        host=endpoint.name,
        what=f"The facts of {names['host']} could not be gathered: {_quote(message)}.",
        todo=f"Try `ssh -p {endpoint.port} {user}@{endpoint.address}` and read its messages.",
        fatal=fatal,
    )


def is_sudo_password_missing(message: str) -> bool:
    """Return whether sudo failed because it needs a password; any message in another language counts as that."""
    kind = next((reason.kind for reason in _REASONS if re.search(reason.pattern, message)), "")
    return kind == "sudo_password_missing" or (not kind and re.search(r"^sudo: ", message, re.MULTILINE) is not None)


def is_sudo_password_wrong(message: str) -> bool:
    """Return whether sudo refused the password."""
    return next((reason.kind for reason in _REASONS if re.search(reason.pattern, message)), "") == "sudo_password_wrong"


def wants_sudo_password(message: str) -> bool:
    """Return whether sudo failed because it needs a password, or another one."""
    return is_sudo_password_missing(message) or is_sudo_password_wrong(message)


def explain_silence(endpoint: Endpoint, *, fatal: bool) -> Problem:
    """Return the problem for a host of which the run had no event."""
    return Problem(
        kind="silent",
        host=endpoint.name,
        what=f"Ansible reported nothing about {_format_name(endpoint)}: the run ended before.",
        todo="Run again; if it stays so, name this host alone (--host) and look at what Ansible prints.",
        fatal=fatal,
    )


def _format_target(endpoint: Endpoint) -> str:
    address = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    return address if endpoint.port == SSH_PORT else f"{address}:{endpoint.port}"


def _format_name(endpoint: Endpoint) -> str:
    return endpoint.name if endpoint.name == endpoint.address else f"{endpoint.name} ({endpoint.address})"


def _quote(message: str, pattern: str = "") -> str:
    """Return the line that matches, else all lines, without Ansible's prefixes and cut to a readable length."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    line = next((line for line in lines if pattern and re.search(pattern, line)), "; ".join(lines) or "nothing")
    line = re.sub(_PREFIX, "", line).rstrip(".")
    printable = "".join(char for char in line if char.isprintable())
    return printable if len(printable) <= _LONGEST_QUOTE else printable[:_LONGEST_QUOTE] + "..."
