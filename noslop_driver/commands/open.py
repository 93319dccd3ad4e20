# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open the address of a service in the user's browser."""

from __future__ import annotations

import getpass
import os
import sys
import urllib.parse
import webbrowser
from collections.abc import Mapping, Sequence

from ansible_collections.noslop.studio.plugins.module_utils.studio import SERVICES

from noslop_driver.commands.look_result import OpenData
from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult, ServiceAddress, list_service_addresses
from noslop_driver.commands.studio import find_studio, read_members
from noslop_driver.errors import ExitCode, UsageError
from noslop_driver.hosts import service_reach
from noslop_driver.inventory.directory import Member
from noslop_driver.output.terminal import Terminal


def open(options: Options, terminal: Terminal) -> CommandResult:
    """Open a service in the browser; where it does not answer, say why and print the SSH command that gets there."""
    studio = find_studio(inventory=options.inventory, name=options.studio, must_exist=True)
    members = read_members(studio.path, options.user or getpass.getuser())
    chosen = select_address(options.words, members)
    member = next(one for one in members if one.name == chosen["host"])
    service, url = chosen["service"], chosen["url"]
    split = urllib.parse.urlsplit(url)
    address, port = str(split.hostname), split.port or 80
    if member.local:
        # It may listen on loopback only.
        address, url = "127.0.0.1", f"http://127.0.0.1:{port}"
    data: OpenData = {
        "inventory": str(studio.path),
        "host": member.name,
        "service": service,
        "url": url,
        "answers": True,
        "opened": False,
        "reason": "",
        "tunnel": "",
    }
    title = f"{SERVICES[service].title} on {member.name}"
    problem = service_reach.find_problem(service, address, port, members)
    if problem:
        data["answers"], data["reason"] = False, problem
        terminal.print(f"{title}: {url}")
        if not member.local:
            data["tunnel"], local_url = service_reach.compose_tunnel(member, service, port, studio.known_hosts)
            terminal.print("This gets there through SSH, for as long as it runs:")
            terminal.print(f"  {data['tunnel']}")
            terminal.print(f"Then open {local_url}")
        return CommandResult(ExitCode.UNREACHABLE, data, f"{title} was not opened: {problem}")
    if not has_display(os.environ, sys.platform):
        data["reason"] = "There is no display here to open a browser on."
    elif not webbrowser.open(url):
        data["reason"] = "No browser was opened: this computer has none, or it failed. BROWSER names another one."
    else:
        data["opened"] = True
    terminal.print(f"{title}: {url}")
    if data["reason"]:
        terminal.print(f"{data['reason']} Open the address in a browser.")
    return CommandResult(ExitCode.OK, data)


def select_address(words: Sequence[str], members: Sequence[Member]) -> ServiceAddress:
    """Return the address that the words of the command line mean: a host, a service, both, or none.

    Without a service it is ComfyUI, else the first that the host has; without a host, the first one with that service.

    Raises:
        UsageError: there is no such host or service, or the host does not run it.
    """
    names = [member.name for member in members]
    hosts: list[str] = []
    services: list[str] = []
    unknown: list[str] = []
    for word in words:
        # A host may have the name of a service.
        if word in names and not (hosts and word in SERVICES):
            hosts.append(word)
        elif word in SERVICES:
            services.append(word)
        else:
            unknown.append(word)
    addresses = list_service_addresses(members)
    offered = ", ".join(f"{one['host']} {one['service']}" for one in addresses)
    if unknown or len(hosts) > 1 or len(services) > 1:
        wrong = (
            f"{' '.join(unknown)}: no such host or service." if unknown else "Name one host and one service at most."
        )
        raise UsageError(f"{wrong} This studio has: {offered or 'no service'}.")
    matching = [
        one for one in addresses if (not hosts or one["host"] in hosts) and (not services or one["service"] in services)
    ]
    if not matching:
        raise UsageError(
            f"{' '.join(words) or 'The studio'} has no such service. This studio has: {offered or 'none'}."
        )
    return matching[0]


def has_display(environment: Mapping[str, str], platform: str) -> bool:
    """Return whether a browser can show itself: on a display, or because the user names one in BROWSER.

    Without a display, `webbrowser` may start one for text, which would take over the terminal.
    """
    if environment.get("BROWSER"):
        return True
    if platform == "darwin":
        return "SSH_CONNECTION" not in environment
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
