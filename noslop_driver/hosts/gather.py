# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gather the hosts of a studio: discover them, have their keys accepted, and gather the facts of each.

The hosts of an existing studio come from its inventory; `--network` and `--host` add others.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from noslop_driver.ansible.events import Event, Outcome, Status
from noslop_driver.ansible.runner import list_inventory, run_playbook
from noslop_driver.cli.session import Options, Session
from noslop_driver.errors import DriverError
from noslop_driver.hosts import discovery, facts, host_keys, sudo
from noslop_driver.hosts.discovery import Discovery
from noslop_driver.hosts.known_hosts import KnownHosts
from noslop_driver.inventory import directory, render
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.models import Candidate, Host, Problem
from noslop_driver.output.progress import Progress
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import Secrets, private_directory, write_private
from noslop_driver.settings import merge

FACTS = "noslop.studio.facts"
_OUTSIDE_ADDRESS = "192.0.2.1"
"""An address that no host has (TEST-NET-1, RFC 5737): packets to it take the default route."""


@dataclass(frozen=True)
class GatheredHosts:
    """The hosts and their problems, before a plan is made."""

    hosts: list[Host]
    problems: list[Problem]
    members: list[Member] = field(default_factory=list)
    """Hosts that are in the studio's inventory already."""
    secrets: Secrets = field(default_factory=Secrets)
    """The passwords of the session, with the sudo password if it was asked for."""
    local: bool = False
    """True when the only host is this computer."""


@dataclass
class Gatherer:
    """Gather hosts and print progress."""

    session: Session
    """Replaced by one with the sudo password when a member needs it."""

    @property
    def terminal(self) -> Terminal:
        """Return the terminal of the session."""
        return self.session.terminal

    @property
    def options(self) -> Options:
        """Return the options of the command."""
        return self.session.options

    @property
    def studio(self) -> StudioDirectory:
        """Return the directory of the studio, which need not exist yet."""
        return self.session.studio

    @property
    def user(self) -> str:
        """Return the account for hosts to which the inventory gives none."""
        return self.options.user or getpass.getuser()

    def gather(self) -> GatheredHosts:
        """Discover hosts and gather their facts.

        Raises:
            DriverError: the search or Ansible failed, or a host key is not the accepted one.
            KeyboardInterrupt: the run was interrupted.
        """
        rule = host_keys.read_rule(accept_new_keys=self.options.accept_new_keys, file=self.options.host_keys)
        members = self._read_members()
        if self.options.local or (members and all(member.local for member in members)):
            return self._gather_this_computer(members)
        problems: list[Problem] = []
        new: list[Candidate] = []
        if self.options.has_targets or not members:
            addresses = {member.address for member in members}
            discovered = self.discover()
            new = [
                candidate
                for candidate in discovered.candidates
                if not addresses & {candidate.address, *candidate.addresses}
            ]
            problems += discovered.problems
        new, key_problems = self._accept_keys([*new, *self._scan_members_without_keys(members)], members, rule)
        problems += key_problems
        hosts, member_problems = self._gather_members(members)
        new_hosts, new_problems = self._gather_new_hosts(new, used_names={member.name for member in members})
        return GatheredHosts(
            [*hosts, *new_hosts], [*problems, *member_problems, *new_problems], members, self.session.secrets
        )

    def discover(self) -> Discovery:
        """Search the networks and hosts that were named, or the networks of this computer."""
        plan = discovery.plan_discovery(self.options.networks, self.options.hosts, port=self.options.port)
        for line in plan.describe():
            self.terminal.print(line)
        with self.terminal.out.status("Searching"):
            result = discovery.discover(plan)
        counts = ", ".join(f"{count} {status}" for status, count in result.counts.items() if count)
        self.terminal.print(f"{len(result.candidates)} with an SSH server ({counts or 'nothing tried'})")
        for note in result.notes:
            self.terminal.warn(note)
        return result

    def _read_members(self) -> list[Member]:
        if not self.studio.exists:
            return []
        members = directory.read_members(list_inventory(self.studio.path), self.user)
        self.terminal.print(f"{self.studio.path} has {', '.join(member.name for member in members)}.")
        return members

    def _gather_this_computer(self, members: Sequence[Member]) -> GatheredHosts:
        if members and not all(member.local for member in members):
            names = ", ".join(member.name for member in members if not member.local)
            raise DriverError(f"{self.studio.path} has other hosts than this computer: {names}. Leave out --local.")
        candidate = Candidate(
            address=members[0].studio_address if members else merge.find_own_address(_OUTSIDE_ADDRESS) or "127.0.0.1",
            hostname=members[0].name if members else None,
            named=True,
            status="open",
        )
        candidates = facts.name_candidates([candidate])
        with private_directory("noslop-facts-") as private:
            text = render.render_local_bootstrap_inventory(next(iter(candidates)))
            inventory_file = write_private(private / "hosts.yml", text)
            if members:
                events = self._gather_facts_as_root(inventory_file, candidates)
            else:
                events = self._run_facts_playbook(inventory_file, "Looking at this computer", Secrets(), become=False)
        gathered = facts.parse_events(candidates, self.user, events)
        hosts = [host.model_copy(update={"user": getpass.getuser()}) for host in gathered.hosts]
        return GatheredHosts(hosts, gathered.problems, list(members), self.session.secrets, local=True)

    def _scan_members_without_keys(self, members: Sequence[Member]) -> list[Candidate]:
        """Scan the members without a pinned key: the inventory was made on another computer."""
        known_hosts = KnownHosts(self.studio.known_hosts)
        targets = [
            f"{_bracket_ipv6(member.address)}:{member.port}"
            for member in members
            if not member.local
            and not known_hosts.find_keys(member.address, member.port)
            and _uses_studio_known_hosts(member)
        ]
        if not targets:
            return []
        return discovery.discover(discovery.plan_discovery((), targets)).candidates

    def _accept_keys(
        self, candidates: Sequence[Candidate], members: Sequence[Member], rule: host_keys.AcceptanceRule
    ) -> tuple[list[Candidate], list[Problem]]:
        """Pin the new keys that are accepted. Return the new hosts with a pinned key, and problems of others."""
        known_hosts = KnownHosts(self.studio.known_hosts)
        classified = known_hosts.classify(candidates)
        problems = [
            Problem(
                kind="no_host_key",
                host=candidate.hostname or candidate.address,
                what=f"{candidate.address} did not show its SSH host key.",
                todo="Run again; look at the log of its SSH server if it stays so.",
                fatal=candidate.named,
            )
            for candidate in classified.without_key
        ]
        decision = host_keys.decide(classified.new, rule, self.terminal)
        if decision.left_out and not decision.problems:
            self.terminal.print(
                f"Left out: {', '.join(host_keys.format_label(candidate) for candidate in decision.left_out)}"
            )
            if not members and not decision.accepted and not classified.pinned:
                raise DriverError("No host key was accepted: no host was looked at and nothing was changed.")
        if decision.accepted:
            self.studio.make_state_dir()
            known_hosts.accept(decision.accepted)
        addresses = {member.address for member in members}
        accepted = [*classified.pinned, *decision.accepted]
        # Members that were left out stay in the studio: gathering their facts reports why they cannot be reached.
        problems += [problem for problem in decision.problems if problem.host not in addresses]
        return [candidate for candidate in accepted if candidate.address not in addresses], problems

    def _gather_members(self, members: Sequence[Member]) -> tuple[list[Host], list[Problem]]:
        """Gather the facts of members as root, because other accounts may not see all file systems."""
        if not members:
            return [], []
        candidates = {
            member.name: Candidate(
                address=member.address, port=member.port, hostname=member.name, named=True, status="open"
            )
            for member in members
        }
        limit = self.options.limit
        events = self._gather_facts_as_root(self.studio.path, candidates, limit)
        if limit:
            selected = {event.host for event in events}
            candidates = {name: candidate for name, candidate in candidates.items() if name in selected}
        gathered = facts.parse_events(candidates, self.user, events)
        by_name = {member.name: member for member in members}
        hosts = [
            host.model_copy(update={"user": by_name[host.name].user, "address": by_name[host.name].studio_address})
            for host in gathered.hosts
            if host.name in by_name
        ]
        # Members that were left out or did not answer stay in the studio, without facts.
        names = {host.name for host in hosts}
        hosts += [
            Host(name=member.name, address=member.studio_address, port=member.port, user=member.user, named=True)
            for member in members
            if member.name not in names
        ]
        return hosts, gathered.problems

    def _gather_new_hosts(
        self, accepted: Sequence[Candidate], *, used_names: set[str]
    ) -> tuple[list[Host], list[Problem]]:
        """Gather the facts of new hosts whose keys were accepted, as an ordinary user and with a public key.

        The SSH password, if there is one, is sent to hosts that refuse the key. The sudo password is sent to none.
        """
        if not accepted:
            return [], []
        candidates = facts.name_candidates(accepted)
        events = self._gather_facts_of_new_hosts(candidates, "Looking at the new hosts", Secrets())
        refused = _list_hosts_refusing_key(facts.parse_events(candidates, self.user, events))
        password = self.session.secrets.ssh_password
        if refused and password:
            with_password = {name: candidate for name, candidate in candidates.items() if name in refused}
            events = [event for event in events if event.host not in refused]
            events += self._gather_facts_of_new_hosts(
                with_password, "Logging in with the SSH password", Secrets(ssh_password=password)
            )
        gathered = facts.parse_events(candidates, self.user, events)
        # Members keep their names.
        hosts = [
            host
            if host.name not in used_names
            else host.model_copy(update={"name": f"{host.name}-{host.address.replace('.', '-').replace(':', '-')}"})
            for host in gathered.hosts
        ]
        return hosts, gathered.problems

    def _gather_facts_as_root(
        self, hosts: Path, candidates: Mapping[str, Candidate], limit: str | None = None
    ) -> list[Event]:
        """Gather the facts of members; if sudo needs a password that no flag gave, ask for it and run again."""
        title = "Looking at the hosts"
        events = self._run_facts_playbook(hosts, title, self.session.secrets, become=True, limit=limit)
        problems = facts.parse_events(candidates, self.user, events).problems
        without_password = [
            problem.host for problem in problems if problem.kind == "sudo_password_missing" and problem.host
        ]
        if not without_password or self.session.secrets.become_password or not self.terminal.can_ask_password:
            return events
        self.session = sudo.ask_for_password(self.session, without_password)
        return self._run_facts_playbook(hosts, title, self.session.secrets, become=True, limit=limit)

    def _gather_facts_of_new_hosts(
        self, candidates: Mapping[str, Candidate], title: str, secrets: Secrets
    ) -> list[Event]:
        """Gather the facts of new hosts through a bootstrap inventory."""
        text = render.render_bootstrap_inventory(
            [(name, candidate.address, candidate.port) for name, candidate in candidates.items()],
            self.user,
            self.options.ssh_key,
            self.studio.known_hosts,
            password=bool(secrets.ssh_password),
        )
        with private_directory("noslop-facts-") as private:
            return self._run_facts_playbook(write_private(private / "hosts.yml", text), title, secrets, become=False)

    def _run_facts_playbook(
        self, hosts: Path, title: str, secrets: Secrets, *, become: bool, limit: str | None = None
    ) -> list[Event]:
        """Run the facts playbook, which changes nothing on the hosts, and return its events."""
        progress = Progress(self.terminal)
        events: list[Event] = []

        def follow(event: Event) -> None:
            events.append(event)
            progress.show_event(event)

        progress.start_phase(title)
        try:
            outcome = run_playbook(
                FACTS,
                hosts,
                on_event=follow,
                on_interrupt=progress.print_note,
                secrets=secrets,
                extra_vars={"noslop_facts_become": become},
                limit=limit,
            )
        finally:
            progress.close()
        _require_completion(outcome)
        return events


def _list_hosts_refusing_key(gathered: facts.GatheredFacts) -> set[str]:
    return {problem.host for problem in gathered.problems if problem.kind == "auth_refused" and problem.host}


def _require_completion(outcome: Outcome) -> None:
    if outcome.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    if outcome.status is Status.ERROR:
        raise DriverError(f"Ansible could not gather the facts of the hosts. Its message: {outcome.output}")


def _uses_studio_known_hosts(member: Member) -> bool:
    """Return whether SSH uses the studio's known_hosts for the member; a user may have configured another file."""
    return ".noslop/known_hosts" in str(member.variables.get("ansible_ssh_common_args", ""))


def _bracket_ipv6(address: str) -> str:
    return f"[{address}]" if ":" in address else address
