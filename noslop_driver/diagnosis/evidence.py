# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the evidence that hosts returned. A host may return anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_Text = Annotated[str, Field(max_length=500)]
_Name = Annotated[str, Field(max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Unit(_Part):
    """The state of a unit, in systemd's own words."""

    load: _Name = ""
    active: _Name = ""
    sub: _Name = ""
    result: _Name = ""
    enabled: _Name = ""
    status: int = 0
    """ExecMainStatus; 203 where the program could not be run."""
    restarts: int = 0
    pid: int = 0
    state: _Name = ""
    """The state of its process: T is stopped, D waits for the kernel."""
    program: _Text = ""
    program_missing: bool = False
    drop_ins: list[_Text] = Field(default=[], max_length=50)
    """Those of administrators."""
    active_s: float | None = None
    journal: list[_Text] = Field(default=[], max_length=50)


class Listener(_Part):
    """A process that listens on a port."""

    pid: int = 0
    command: _Text = ""
    unit: _Name = ""
    state: _Name = ""


class Port(_Part):
    """The port of a service, and the processes that have it."""

    port: int
    listeners: list[Listener] = Field(default=[], max_length=50)


class Way(_Part):
    """The way of packets to the storage server. `nfs` and `ssh` are the ends of two connections."""

    server: _Name = ""
    address: _Name = ""
    name_error: _Text = ""
    route: _Text = ""
    source: _Name = ""
    nfs: _Name = ""
    ssh: _Name = ""
    sent: int = 0
    received: int = 0


class Drop(_Part):
    """A rule of others that drops packets of a port of the studio."""

    table: _Name = ""
    chain: _Name = ""
    hook: _Name = ""
    rule: _Text = ""


class Firewall(_Part):
    """Whether NoSlop's table is loaded, and rules of others."""

    loaded: bool = False
    drops: list[Drop] = Field(default=[], max_length=50)


class Mount(_Part):
    """The mount that a share's path leads to."""

    path: _Text = ""
    point: _Text = ""
    type: _Name = ""
    source: _Text = ""
    options: _Text = ""
    read_only: bool = False


class Disk(_Part):
    """Room and inodes of a file system."""

    path: _Text = ""
    device: _Name = ""
    bytes: int = 0
    free_bytes: int = 0
    inodes: int = 0
    free_inodes: int = 0
    read_only: bool = False


class Exports(_Part):
    """The paths in NoSlop's file, those that the kernel's server exports, and its threads."""

    file: _Text = ""
    written: list[_Text] = Field(default=[], max_length=1000)
    exported: list[_Text] = Field(default=[], max_length=1000)
    threads: int = 0


class Directory(_Part):
    """A directory of another account."""

    path: _Text = ""
    uid: int = 0
    gid: int = 0


class Tree(_Part):
    """The directories of a share that its owner cannot change."""

    path: _Text = ""
    count: int = 0
    examples: list[Directory] = Field(default=[], max_length=50)


class Clock(_Part):
    """The time, and what keeps it right; None for what is unknown."""

    can_ntp: bool | None = None
    ntp: bool | None = None
    synchronized: bool | None = None
    epoch: float = 0.0


class Identity(_Part):
    """The name and the number of the machine."""

    hostname: _Name = ""
    machine_id: _Name = ""


class Card(_Part):
    """A graphics card; `why` says why it cannot be used."""

    vendor: _Name = ""
    name: _Name = ""
    usable: bool = True
    why: _Text = ""


class Certificate(_Part):
    """A certificate with the days that it has left; `made` is true for one that NoSlop renews."""

    path: _Text = ""
    days: float = 0.0
    made: bool = True


class Evidence(_Part):
    """The evidence of one host. A part that did not answer is missing, and in `unanswered` with the reason."""

    units: dict[_Name, Unit] = {}
    failed_units: list[_Name] = Field(default=[], max_length=50)
    ports: dict[_Name, Port] = {}
    way: Way | None = None
    firewall: Firewall | None = None
    mounts: dict[_Name, Mount] = {}
    disks: list[Disk] = Field(default=[], max_length=200)
    exports: Exports | None = None
    trees: dict[_Name, Tree] = {}
    clock: Clock = Clock()
    identity: Identity = Identity()
    cards: list[Card] = Field(default=[], max_length=64)
    devices: list[_Name] = Field(default=[], max_length=64)
    failed_imports: list[_Text] = Field(default=[], max_length=1000)
    certificates: list[Certificate] = Field(default=[], max_length=50)
    unanswered: dict[_Text, _Text] = {}


def read_evidence(results: Mapping[str, Any]) -> tuple[dict[str, Evidence], dict[str, str]]:
    """Return the evidence by host, and for hosts that returned something else, why it was not read."""
    evidence, errors = {}, {}
    for host, result in results.items():
        try:
            evidence[host] = Evidence.model_validate(result)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))[:80] or "all of it"
            errors[host] = f"it returned something else than evidence ({where}: {first['msg'][:80]})"
    return evidence, errors
