# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Phase 0: finds the hosts, has their keys accepted, and looks at each of them.

Hosts of a studio that exists come from its inventory; `--network` and `--host` add others to them.
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
from noslop_driver.inventory import directory, render
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.models import Candidate, Host, Problem
from noslop_driver.output.progress import Report
from noslop_driver.output.terminal import Terminal
from noslop_driver.secrets import Secrets, private_directory, write_private
from noslop_driver.settings import merge

FACTS = "noslop.studio.facts"
_ELSEWHERE = "192.0.2.1"
"""An address of nobody's (RFC 5737): the way there is the way to everywhere."""


@dataclass(frozen=True)
class Survey:
    """What is known of the hosts, before anything is decided."""

    hosts: list[Host]
    problems: list[Problem]
    members: list[Member] = field(default_factory=list)
    """Hosts that the studio's inventory has already."""
    secrets: Secrets = field(default_factory=Secrets)
    """The passwords of the session, with the one for sudo where it was asked for."""
    local: bool = False
    """The only host is this computer."""


@dataclass
class Surveyor:
    """Makes a survey; says what it does."""

    session: Session
    """Gets the sudo password when a member wants it."""

    @property
    def terminal(self) -> Terminal:
        """Where to say what is done."""
        return self.session.terminal

    @property
    def options(self) -> Options:
        """What was asked for."""
        return self.session.options

    @property
    def studio(self) -> StudioDirectory:
        """The studio, which need not exist yet."""
        return self.session.studio

    @property
    def user(self) -> str:
        """The account to log in with, where the inventory does not say."""
        return self.options.user or getpass.getuser()

    def survey(self) -> Survey:
        """Find hosts and look at them.

        Raises:
            DriverError: the search or Ansible could not be carried out, or a host key is not the accepted one.
            KeyboardInterrupt: it was stopped.
        """
        rule = host_keys.read_rule(accept_new_keys=self.options.accept_new_keys, file=self.options.host_keys)
        members = self._members()
        if self.options.local or (members and all(member.local for member in members)):
            return self._survey_this_computer(members)
        problems: list[Problem] = []
        new: list[Candidate] = []
        if self.options.names_targets or not members:
            known = {member.address for member in members}
            found = self.discover()
            new = [candidate for candidate in found.candidates if not known & {candidate.address, *candidate.addresses}]
            problems += found.problems
        new, refused = self._accept_keys([*new, *self._unpinned(members)], members, rule)
        problems += refused
        hosts, seen = self._look_at_members(members)
        more, seen_more = self._look_at_new(new, taken={member.name for member in members})
        return Survey([*hosts, *more], [*problems, *seen, *seen_more], members, self.session.secrets)

    def discover(self) -> Discovery:
        """Search the networks and hosts that were named, or those this computer is in."""
        plan = discovery.prepare(self.options.networks, self.options.hosts, port=self.options.port)
        for line in plan.describe():
            self.terminal.say(line)
        with self.terminal.out.status("Searching"):
            found = discovery.discover(plan)
        counts = ", ".join(f"{count} {status}" for status, count in found.counts.items() if count)
        self.terminal.say(f"{len(found.candidates)} with an SSH server ({counts or 'nothing tried'})")
        for note in found.notes:
            self.terminal.warn(note)
        return found

    def _members(self) -> list[Member]:
        if not self.studio.exists:
            return []
        members = directory.members(list_inventory(self.studio.path), self.user)
        self.terminal.say(f"{self.studio.path} has {', '.join(member.name for member in members)}.")
        return members

    def _survey_this_computer(self, members: Sequence[Member]) -> Survey:
        if members and not all(member.local for member in members):
            names = ", ".join(member.name for member in members if not member.local)
            raise DriverError(f"{self.studio.path} has other hosts than this computer: {names}. Leave out --local.")
        candidate = Candidate(
            address=members[0].studio_address if members else merge.own_address(_ELSEWHERE) or "127.0.0.1",
            hostname=members[0].name if members else None,
            named=True,
            status="open",
        )
        contacts = facts.contacts([candidate])
        with private_directory("noslop-facts-") as private:
            text = render.render_this_computer(next(iter(contacts)))
            inventory_file = write_private(private / "hosts.yml", text)
            if members:
                events = self._gather_as_root(inventory_file, contacts)
            else:
                events = self._gather(inventory_file, "Looking at this computer", Secrets(), become=False)
        look = facts.read(contacts, self.user, events)
        hosts = [host.model_copy(update={"user": getpass.getuser()}) for host in look.hosts]
        return Survey(hosts, look.problems, list(members), self.session.secrets, local=True)

    def _unpinned(self, members: Sequence[Member]) -> list[Candidate]:
        """Members whose keys this computer has not seen yet: the inventory came from somewhere else."""
        known = self.studio.known_hosts
        strangers = [
            f"{_bracketed(member.address)}:{member.port}"
            for member in members
            if not member.local and not known.keys(member.address, member.port) and _pins(member)
        ]
        if not strangers:
            return []
        return discovery.discover(discovery.prepare((), strangers)).candidates

    def _accept_keys(
        self, candidates: Sequence[Candidate], members: Sequence[Member], rule: host_keys.Rule
    ) -> tuple[list[Candidate], list[Problem]]:
        """Pin the new keys that are accepted. Returns the new hosts with a pinned key, and what is wrong."""
        known = self.studio.known_hosts
        sorted_ = known.sort(candidates)
        problems = [
            Problem(
                kind="no_host_key",
                host=candidate.hostname or candidate.address,
                what=f"{candidate.address} did not show its SSH host key.",
                todo="Run again; look at the log of its SSH server if it stays so.",
                fatal=candidate.named,
            )
            for candidate in sorted_.without_key
        ]
        decision = host_keys.decide(sorted_.new, rule, self.terminal)
        if decision.left_out and not decision.problems:
            self.terminal.say(f"Left out: {', '.join(host_keys.label(candidate) for candidate in decision.left_out)}")
            if not members and not decision.accepted and not sorted_.pinned:
                raise DriverError("No host key was accepted: nothing was looked at and nothing was changed.")
        if decision.accepted:
            self.studio.prepare()
            known.accept(decision.accepted)
        addresses = {member.address for member in members}
        accepted = [*sorted_.pinned, *decision.accepted]
        # Members that were left out stay in the studio: the look at them says why they cannot be reached.
        problems += [problem for problem in decision.problems if problem.host not in addresses]
        return [candidate for candidate in accepted if candidate.address not in addresses], problems

    def _look_at_members(self, members: Sequence[Member]) -> tuple[list[Host], list[Problem]]:
        """Look at hosts of the studio as root, whose file systems may lie where nobody else can see them."""
        if not members:
            return [], []
        contacts = {
            member.name: Candidate(
                address=member.address, port=member.port, hostname=member.name, named=True, status="open"
            )
            for member in members
        }
        limit = self.options.limit
        events = self._gather_as_root(self.studio.path, contacts, limit)
        if limit:
            limited = {event.host for event in events}
            contacts = {name: candidate for name, candidate in contacts.items() if name in limited}
        look = facts.read(contacts, self.user, events)
        by_name = {member.name: member for member in members}
        hosts = [
            host.model_copy(update={"user": by_name[host.name].user, "address": by_name[host.name].studio_address})
            for host in look.hosts
            if host.name in by_name
        ]
        # Those that were left out or did not answer stay in the studio, unseen.
        seen = {host.name for host in hosts}
        hosts += [
            Host(name=member.name, address=member.studio_address, port=member.port, user=member.user, named=True)
            for member in members
            if member.name not in seen
        ]
        return hosts, look.problems

    def _look_at_new(self, candidates: Sequence[Candidate], *, taken: set[str]) -> tuple[list[Host], list[Problem]]:
        """Look at hosts whose keys were accepted: as an ordinary user, and with a public key where that will do.

        A host that refuses the key gets the SSH password, if there is one. None gets the sudo password.
        """
        if not candidates:
            return [], []
        contacts = facts.contacts(candidates)
        events = self._gather_new(contacts, "Looking at the new hosts", Secrets())
        refused = _refused_the_key(facts.read(contacts, self.user, events))
        password = self.session.secrets.ssh_password
        if refused and password:
            again = {name: candidate for name, candidate in contacts.items() if name in refused}
            events = [event for event in events if event.host not in refused]
            events += self._gather_new(again, "Logging in with the SSH password", Secrets(ssh_password=password))
        look = facts.read(contacts, self.user, events)
        # Hosts of the studio keep their names.
        hosts = [
            host
            if host.name not in taken
            else host.model_copy(update={"name": f"{host.name}-{host.address.replace('.', '-').replace(':', '-')}"})
            for host in look.hosts
        ]
        return hosts, look.problems

    def _gather_as_root(self, hosts: Path, contacts: Mapping[str, Candidate], limit: str | None = None) -> list[Event]:
        """Look at members; where sudo wants a password that no flag gave, ask for it and look again."""
        title = "Looking at the hosts"
        events = self._gather(hosts, title, self.session.secrets, become=True, limit=limit)
        problems = facts.read(contacts, self.user, events).problems
        wanting = [problem.host for problem in problems if problem.kind == "sudo_password_missing" and problem.host]
        if not wanting or self.session.secrets.become_password or not self.terminal.may_ask_password:
            return events
        self.session = sudo.ask(self.session, wanting)
        return self._gather(hosts, title, self.session.secrets, become=True, limit=limit)

    def _gather_new(self, contacts: Mapping[str, Candidate], title: str, secrets: Secrets) -> list[Event]:
        text = render.render_contacts(
            [(name, candidate.address, candidate.port) for name, candidate in contacts.items()],
            self.user,
            self.options.ssh_key,
            self.studio.known_hosts.path,
            password=bool(secrets.ssh_password),
        )
        with private_directory("noslop-facts-") as private:
            return self._gather(write_private(private / "hosts.yml", text), title, secrets, become=False)

    def _gather(
        self, hosts: Path, title: str, secrets: Secrets, *, become: bool, limit: str | None = None
    ) -> list[Event]:
        """Run the playbook that looks and changes nothing."""
        report = Report(self.terminal)
        events: list[Event] = []

        def follow(event: Event) -> None:
            events.append(event)
            report.event(event)

        report.begin(title)
        try:
            outcome = run_playbook(
                FACTS,
                hosts,
                on_event=follow,
                on_interrupt=report.note,
                secrets=secrets,
                extra_vars={"noslop_facts_become": become},
                limit=limit,
            )
        finally:
            report.close()
        _must_have_run(outcome)
        return events


def _refused_the_key(look: facts.Look) -> set[str]:
    return {problem.host for problem in look.problems if problem.kind == "auth_refused" and problem.host}


def _must_have_run(outcome: Outcome) -> None:
    if outcome.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    if outcome.status is Status.ERROR:
        raise DriverError(f"Ansible could not look at the hosts. It says: {outcome.output}")


def _pins(member: Member) -> bool:
    """Whether the member is reached with the studio's own known_hosts; a person may have arranged it otherwise."""
    return ".noslop/known_hosts" in str(member.variables.get("ansible_ssh_common_args", ""))


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
