# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user wants: from flags, a file, the studio's own studio.yml, questions, and defaults, in this order."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from ansible_collections.noslop.studio.plugins.module_utils import studio

from noslop_driver.errors import UsageError
from noslop_driver.models import Provider, ServiceRole, Wishes
from noslop_driver.output.terminal import Terminal
from noslop_driver.settings import studio_yml

SERVICES: tuple[ServiceRole, ...] = get_args(ServiceRole)
PROVIDERS: tuple[Provider, ...] = get_args(Provider)
PATH_FIELDS = tuple(variable.removeprefix(studio_yml.PREFIX) for variable in studio.PATH_VARIABLES.values())
PATH_FLAGS = {name: f"--{name.replace('_', '-')}" for name in PATH_FIELDS}
"""Field of `Wishes` to the flag of the command line."""


@dataclass(frozen=True)
class Sources:
    """Where wishes come from; each under the names of `Wishes`, and only what was said."""

    flags: Mapping[str, Any] = field(default_factory=dict)
    file: Mapping[str, Any] = field(default_factory=dict)
    previous: Mapping[str, Any] = field(default_factory=dict)
    """What the studio's inventory says already."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    edited: Path | None = None
    """The studio.yml, when a person has edited it: it is the truth then."""


def collect(sources: Sources, terminal: Terminal) -> Wishes:
    """Put the wishes together; ask for what is not said when the studio is new and somebody is there.

    Raises:
        UsageError: a value is not what it must be, or a flag contradicts a file that was edited by hand.
    """
    said = {**sources.file, **sources.flags}
    values = {**sources.defaults, **sources.previous, **said}
    values.setdefault("studio_id", str(uuid.uuid4()))
    wishes = studio_yml.validate(values)
    if sources.edited:
        _agree(sources, wishes, said)
    if not sources.previous and terminal.interactive:
        wishes = ask(wishes, terminal, answered=said)
    return wishes


def ask(wishes: Wishes, terminal: Terminal, *, answered: Mapping[str, Any] | None = None) -> Wishes:
    """Ask for the storage settings, with what is wished so far as the default of each question."""
    said = answered or {}
    if "storage_root" not in said:
        wishes = _ask_path(wishes, "storage_root", "Where the shared directories lie on every host", terminal)
    if not set(PATH_FIELDS) & set(said):
        terminal.say("\n".join(f"  {share.name}: {share.path}" for share in wishes.shares()))
        if not terminal.confirm("Keep these directories?"):
            for name in PATH_FIELDS:
                wishes = _ask_path(wishes, name, studio_yml.ABOUT[studio_yml.PREFIX + name].rstrip("."), terminal)
    if "storage_provider" not in said:
        question = "How they are shared (nfs: by the storage server; existing: they are already; local: one machine)"
        provider = terminal.choose(question, PROVIDERS, flag="--provider", default=wishes.storage_provider)
        wishes = wishes.changed(storage_provider=provider)
    for name, question, flag in (
        ("users", "Accounts of people who may write to them", "--share-user"),
        ("allowed_networks", "Other addresses or networks that may use Ollama and ComfyUI", "--allow"),
    ):
        if name not in said:
            wishes = _ask_list(wishes, name, question, flag, terminal)
    return wishes


def parse_roles(values: Sequence[str]) -> dict[str, list[str]]:
    """Read `--role worker1=ollama,comfyui` (and `worker1=` for none).

    Raises:
        UsageError: one of them is not of this form.
    """
    found: dict[str, list[str]] = {}
    for value in values:
        host, equals, roles = value.partition("=")
        names = [role for role in roles.replace(",", " ").split() if role != "none"]
        unknown = [name for name in names if name not in SERVICES]
        if not host or not equals or unknown:
            raise UsageError(
                f"--role {value}: write HOST=SERVICE,... with {', '.join(SERVICES)}, or HOST=none for no service."
            )
        found.setdefault(host, []).extend(names)
    return found


def read_file(path: Path) -> dict[str, Any]:
    """Read a wishes file. Roles may be written as a list or as `ollama, comfyui`."""
    values = studio_yml.read(path)
    roles = values.get("roles")
    if isinstance(roles, dict):
        values["roles"] = {
            host: named.replace(",", " ").split() if isinstance(named, str) else named or []
            for host, named in roles.items()
        }
    return values


def own_address(towards: str) -> str | None:
    """The address from which this computer reaches another; None when there is no route."""
    family = socket.AF_INET6 if ":" in towards else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards, 9))  # a datagram socket: nothing is sent
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _agree(sources: Sources, wishes: Wishes, said: Mapping[str, Any]) -> None:
    """An edited studio.yml and what was said now must not contradict each other."""
    written = studio_yml.validate({"studio_id": wishes.studio_id, **sources.previous}, str(sources.edited))
    for name in said:
        variable = studio_yml.PREFIX + name
        if variable in studio.DEFAULTS and getattr(written, name) != getattr(wishes, name):
            asked = studio_yml.scalar(getattr(wishes, name))
            raise UsageError(
                f"{sources.edited} was edited by hand and says {variable}: "
                f"{studio_yml.scalar(getattr(written, name))}; you asked for {asked}. "
                f"Write '{variable}: {asked}' there, or leave that wish out."
            )


def _ask_path(wishes: Wishes, name: str, question: str, terminal: Terminal) -> Wishes:
    shown = getattr(wishes, name) or next(
        share.path for share in wishes.shares() if studio.PATH_VARIABLES[share.name] == studio_yml.PREFIX + name
    )

    def wrong(answer: str) -> str:
        try:
            studio_yml.validate({**wishes.model_dump(), name: answer})
        except UsageError as error:
            return str(error)
        return ""

    answer = terminal.ask(question, flag=PATH_FLAGS.get(name, "--storage-root"), default=shown, check=wrong)
    return wishes if answer == shown else wishes.changed(**{name: answer})


def _ask_list(wishes: Wishes, name: str, question: str, flag: str, terminal: Terminal) -> Wishes:
    def wrong(answer: str) -> str:
        try:
            studio_yml.validate({**wishes.model_dump(), name: _words(answer)})
        except UsageError as error:
            return str(error)
        return ""

    answer = terminal.ask(
        f"{question} (separated by commas, none)",
        flag=flag,
        default=", ".join(getattr(wishes, name)) or "none",
        check=wrong,
    )
    return wishes.changed(**{name: _words(answer)})


def _words(answer: str) -> list[str]:
    return [word for word in answer.replace(",", " ").split() if word != "none"]
