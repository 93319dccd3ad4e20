# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print a plan with its reasons and problems."""

from __future__ import annotations

from collections.abc import Iterable

from ansible_collections.noslop.studio.plugins.module_utils.host.addresses import OPEN_NETWORK
from ansible_collections.noslop.studio.plugins.module_utils.smb import smb_shares
from rich.markup import escape
from rich.table import Table

from noslop_driver.models import Host, Plan, Problem, StudioSettings
from noslop_driver.output.terminal import Terminal

_ROLE_LABELS = {"storage_server": "storage server", "storage_clients": "storage client"}

_TRANSPORTS = {
    "tls": "Over TLS: encrypted, and the server proves itself with a certificate.",
    "mtls": "Over TLS: encrypted, and every host proves itself with a certificate.",
}


def print_plan(plan: Plan, terminal: Terminal) -> None:
    """Print the roles with their reasons, the storage, and every problem."""
    hosts = {host.name: host for host in plan.hosts}
    table = Table(title="Who does what", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("host", "address", "system", "CPUs", "memory", "GPUs", "score", "roles"):
        table.add_column(heading, justify="right" if heading in ("CPUs", "memory", "score") else "left")
    for proposal in plan.proposals:
        host = hosts[proposal.host]
        roles = ", ".join(_ROLE_LABELS.get(role, role) for role in proposal.roles)
        table.add_row(
            escape(host.name),
            escape(host.address),
            escape(f"{host.os} {host.os_version}".strip() or "?"),
            str(host.cpus or "?"),
            f"{host.memory_mib / 1024:.0f} GiB" if host.memory_mib else "?",
            escape(_format_gpus(host)),
            str(proposal.score),
            roles or "nothing",
        )
    if plan.proposals:
        terminal.print_table(table)
    for proposal in plan.proposals:
        terminal.print(f"{proposal.host}:")
        for reason in proposal.reasons:
            terminal.print(f"  - {reason}")
    terminal.print(f"Storage ({plan.settings.storage_provider}), the same paths on every host:")
    for share in plan.settings.shares():
        terminal.print(f"  {share.name}: {share.path}")
    if plan.settings.nfs_transport != "plain":
        terminal.print(f"  {_TRANSPORTS[plan.settings.nfs_transport]}")
    if plan.settings.storage_provider == "existing":
        terminal.print("  Nothing is mounted or exported. Each host tries them before anything is installed there.")
    _print_access(plan.settings, terminal)
    print_problems(plan.problems, terminal)


def print_problems(problems: Iterable[Problem], terminal: Terminal) -> None:
    """Print each problem or note with the next step."""
    for problem in problems:
        style, word = ("bold red", "Problem") if problem.fatal else ("yellow", "Note")
        terminal.print_markup(f"[{style}]{word}:[/] {escape(problem.what)}")
        terminal.print_markup(f"  [bold]→[/] {escape(problem.todo)}")


def _print_access(settings: StudioSettings, terminal: Terminal) -> None:
    """Print who may use the services and the shares, and who learns of them."""
    opened = ", ".join(settings.allowed_networks)
    if not settings.firewall_enabled:
        opened = "only programs on the same host (the firewall is off)"
    terminal.print(f"Ollama and ComfyUI answer the studio's hosts{' and ' + opened if opened else ''}.")
    if settings.allowed_networks and settings.firewall_enabled:
        terminal.print_markup(f"[yellow]Note:[/] {opened} in noslop_allowed_networks: {OPEN_NETWORK}")
    if settings.announce and settings.firewall_enabled:
        terminal.print("The services are announced by mDNS to every machine on the networks of the hosts.")
    if settings.smb_enabled:
        terminal.print(_describe_smb(settings))


def _describe_smb(settings: StudioSettings) -> str:
    """Return who may use the shares from Windows and macOS, and how."""
    shares = smb_shares.list_shares(settings.variables())
    writable = ", ".join(share.name for share in shares if share.writable)
    read_only = ", ".join(share.name for share in shares if not share.writable)
    names = ", ".join(user["name"] for user in settings.smb_users) or "nobody"
    networks = ", ".join(smb_shares.list_networks(settings.variables())) or "no network"
    return (
        f"Windows and macOS (SMB 3, encryption {settings.smb_encryption}): {names}, from {networks}, "
        f"write {writable} and read {read_only or 'the same'}."
    )


def _format_gpus(host: Host) -> str:
    cards = []
    for gpu in host.gpus:
        memory = f" {gpu.memory_mib / 1024:.0f} GiB" if gpu.memory_mib else ""
        cards.append(f"{gpu.name or gpu.vendor}{memory}" + ("" if gpu.usable else " (not usable)"))
    return ", ".join(cards) or "none"
