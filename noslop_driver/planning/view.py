# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows a plan with its reasons, lets the user change it, and asks for his yes before anything happens."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.noslop.studio.plugins.module_utils import studio
from rich.markup import escape
from rich.table import Table

from noslop_driver.models import Host, Plan, Wishes
from noslop_driver.output.terminal import Terminal
from noslop_driver.settings.merge import SERVICES, ask, parse_roles

_ROLE_WORDS = {"storage_server": "storage server", "storage_clients": "storage client"}


def show(plan: Plan, terminal: Terminal) -> None:
    """Print who becomes what and why, where the storage lies, and every problem."""
    hosts = {host.name: host for host in plan.hosts}
    table = Table(title="Who does what", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("host", "address", "system", "CPUs", "memory", "GPUs", "score", "does"):
        table.add_column(heading, justify="right" if heading in ("CPUs", "memory", "score") else "left")
    for proposal in plan.proposals:
        host = hosts[proposal.host]
        does = ", ".join(_ROLE_WORDS.get(role, role) for role in proposal.roles)
        table.add_row(
            escape(host.name),
            escape(host.address),
            escape(f"{host.os} {host.os_version}".strip() or "?"),
            str(host.cpus or "?"),
            f"{host.memory_mib / 1024:.0f} GiB" if host.memory_mib else "?",
            escape(_gpus(host)),
            str(proposal.score),
            does or "nothing",
        )
    if plan.proposals:
        terminal.out.print(table)
    for proposal in plan.proposals:
        terminal.say(f"{proposal.host}:")
        for reason in proposal.reasons:
            terminal.say(f"  - {reason}")
    terminal.say(f"Storage ({plan.wishes.storage_provider}), the same paths on every host:")
    for share in plan.wishes.shares():
        terminal.say(f"  {share.name}: {share.path}")
    opened = ", ".join(plan.wishes.allowed_networks)
    if not plan.wishes.firewall_enabled:
        opened = "nobody but programs on the same host (the firewall is off)"
    terminal.say(f"Ollama and ComfyUI answer the studio's hosts{' and ' + opened if opened else ''}.")
    if plan.wishes.allowed_networks and plan.wishes.firewall_enabled:
        terminal.show(f"[yellow]Note:[/] {opened} in noslop_allowed_networks: {studio.OPEN_NETWORK}")
    for problem in plan.problems:
        style, word = ("bold red", "Problem") if problem.fatal else ("yellow", "Note")
        terminal.show(f"[{style}]{word}:[/] {escape(problem.what)}")
        terminal.show(f"  [bold]→[/] {escape(problem.todo)}")


def agree(plan: Plan, remake: Callable[[Wishes], Plan], terminal: Terminal, question: str) -> Plan | None:
    """Ask whether to go on, and let the plan be changed until the answer is yes or no.

    Args:
        plan: what was shown.
        remake: makes a plan of other wishes.
        terminal: where to ask.
        question: what is about to happen.

    Returns:
        The plan as agreed, or None for a no.
    """
    if terminal.yes:
        return plan
    while True:
        choices = ["yes", "edit", "no"] if not plan.blocked else ["edit", "no"]
        answer = terminal.choose(question, choices, flag="--yes", default=choices[0])
        if answer == "yes":
            return plan
        if answer == "no":
            return None
        plan = remake(edit(plan, terminal))
        show(plan, terminal)


def edit(plan: Plan, terminal: Terminal) -> Wishes:
    """Ask who is the storage server, what runs where, and for the storage settings."""
    names = [host.name for host in plan.hosts]
    wishes = plan.wishes
    if len(names) > 1:
        server = terminal.choose("Storage server", names, flag="--server", default=plan.server or names[0])
        wishes = wishes.changed(server=server)
    roles = {proposal.host: proposal.roles for proposal in plan.proposals}
    chosen = {}
    for name in names:
        has = [role for role in SERVICES if role in roles[name]]
        answer = terminal.ask(
            f"Services of {name} ({', '.join(SERVICES)}, or none)",
            flag=f"--role {name}=...",
            default=", ".join(has) or "none",
            check=_wrong_roles,
        )
        chosen[name] = parse_roles([f"{name}={answer}"])[name]
    wishes = wishes.changed(roles=chosen)
    if terminal.confirm("Change the storage settings?", default=False):
        wishes = ask(wishes, terminal)
    return wishes


def _wrong_roles(answer: str) -> str:
    unknown = [name for name in answer.replace(",", " ").split() if name not in (*SERVICES, "none")]
    return f"There is no service {', '.join(unknown)}: {', '.join(SERVICES)}, or none." if unknown else ""


def _gpus(host: Host) -> str:
    cards = []
    for gpu in host.gpus:
        memory = f" {gpu.memory_mib / 1024:.0f} GiB" if gpu.memory_mib else ""
        cards.append(f"{gpu.name or gpu.vendor}{memory}" + ("" if gpu.usable else " (not usable)"))
    return ", ".join(cards) or "none"
