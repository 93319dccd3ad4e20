# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print where the services and the shares of a studio answer, after a deployment."""

from __future__ import annotations

from collections.abc import Sequence

from noslop_driver.commands.result import ServiceAddress
from noslop_driver.commands.smb_access import SmbAddress
from noslop_driver.output.terminal import Terminal


def print_services(terminal: Terminal, addresses: Sequence[ServiceAddress], *, firewall_enabled: bool) -> None:
    """Print the addresses of the services; without a firewall each answers on its own host only."""
    if addresses:
        terminal.print("Open:")
    for address in addresses:
        terminal.print(f"  {address['url']}  ({address['service']} on {address['host']})")
    if addresses and not firewall_enabled:
        terminal.print("  The firewall is off, so each answers on its own host only, at 127.0.0.1.")


def print_shares(terminal: Terminal, addresses: Sequence[SmbAddress], names: Sequence[str]) -> None:
    """Print the addresses of the shares for Windows and macOS, and the names of those who may use them."""
    if addresses:
        terminal.print(f"Shares for Windows and macOS (log in as {' or '.join(names)}):")
    for address in addresses:
        mode = "" if address["writable"] else "  (read-only)"
        terminal.print(f"  {address['windows']}  {address['url']}{mode}")
