# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep in `.noslop/machines.json` the machine-id of each member, and the machines that were removed from the studio.

A machine is identified by its SSH host keys and its machine-id, never by its name or its address. The keys of members
are in the studio's known_hosts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from pydantic import Field, ValidationError

from noslop_driver.errors import UsageError
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.models import Host, Model

FILE = "machines.json"


class RemovedMachine(Model):
    """A machine that was removed from the studio. It is refused until a user adds it again."""

    name: str
    """Its name in the inventory, before."""
    address: str
    port: int
    machine_id: str = ""
    """Empty where no deployment has recorded it."""
    host_keys: list[str] = Field(default_factory=list)
    """Its SSH host keys, each `<type> <base64>`."""
    removed: str
    """When, ISO 8601, UTC."""

    def matches(self, host_keys: Iterable[str], machine_id: str = "") -> bool:
        """Return whether a machine with these keys, or this machine-id, is this one."""
        return bool(set(self.host_keys) & set(host_keys)) or bool(machine_id and machine_id == self.machine_id)


class Machines(Model):
    """The identities of a studio's machines."""

    machine_ids: dict[str, str] = Field(default_factory=dict)
    """The machine-id of each member, by its name, as the last look at its facts found it."""
    removed: list[RemovedMachine] = Field(default_factory=list)

    def find_removed(self, host_keys: Iterable[str], machine_id: str = "") -> RemovedMachine | None:
        """Return the removed machine with one of these keys, or this machine-id; None if there is none."""
        keys = list(host_keys)
        return next((machine for machine in self.removed if machine.matches(keys, machine_id)), None)

    def record_members(self, hosts: Iterable[Host], names: Collection[str]) -> Machines:
        """Return the identities with the machine-ids of members whose facts were gathered, and of members only."""
        gathered = {host.name: host.machine_id for host in hosts if host.machine_id and host.name in names}
        kept = {name: value for name, value in self.machine_ids.items() if name in names}
        return self.model_copy(update={"machine_ids": {**kept, **gathered}})

    def remove_member(self, member: Member, host_keys: Iterable[str]) -> Machines:
        """Return the identities with a member as a removed machine."""
        machine = RemovedMachine(
            name=member.name,
            address=member.address,
            port=member.port,
            machine_id=self.machine_ids.get(member.name, ""),
            host_keys=list(host_keys),
            removed=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        others = {name: value for name, value in self.machine_ids.items() if name != member.name}
        kept = [other for other in self.removed if not other.matches(machine.host_keys, machine.machine_id)]
        return Machines(machine_ids=others, removed=[*kept, machine])

    def allow_again(self, machines: Collection[RemovedMachine]) -> Machines:
        """Return the identities without these removed machines."""
        return self.model_copy(update={"removed": [machine for machine in self.removed if machine not in machines]})


def read(studio: StudioDirectory) -> Machines:
    """Return the identities of a studio's machines; none if nothing was recorded yet.

    Raises:
        UsageError: the file is damaged.
    """
    path = studio.state_dir / FILE
    if not path.exists():
        return Machines()
    try:
        return Machines.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read. It lists the machines that were removed from the studio: restore it from a copy, "
            "or remove it to allow all of them again."
        ) from error


def write(studio: StudioDirectory, machines: Machines) -> None:
    """Write the identities, if they differ from those in the file."""
    if machines != read(studio):
        studio.make_state_dir()
        studio.write_state(FILE, machines.model_dump_json(indent=2) + "\n")


def forget_facts(studio: StudioDirectory, name: str) -> None:
    """Remove the cached facts of a member, which are those of a machine that is no longer it."""
    for path in (studio.state_dir / "cache" / "facts").glob("*"):
        # Ansible may put a prefix before the name of the host.
        if path.name == name or path.name.endswith(f"_{name}"):
            path.unlink()
