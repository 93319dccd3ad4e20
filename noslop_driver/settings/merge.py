# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merge a studio's settings from flags, a file, the studio's own studio.yml, questions and defaults, in this order."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from ansible_collections.noslop.studio.plugins.module_utils import studio

from noslop_driver.errors import UsageError
from noslop_driver.inventory import studio_yml
from noslop_driver.models import Provider, ServiceRole, StudioSettings
from noslop_driver.output.terminal import Terminal

SERVICES: tuple[ServiceRole, ...] = get_args(ServiceRole)
PROVIDERS: tuple[Provider, ...] = get_args(Provider)
PATH_FIELDS = tuple(variable.removeprefix(studio_yml.PREFIX) for variable in studio.PATH_VARIABLES.values())
PATH_FLAGS = {name: f"--{name.replace('_', '-')}" for name in PATH_FIELDS}
"""Field of `StudioSettings` to flag of the command line."""


@dataclass(frozen=True)
class Sources:
    """The sources of settings, each under the names of `StudioSettings`, and without those that were not given."""

    flags: Mapping[str, Any] = field(default_factory=dict)
    file: Mapping[str, Any] = field(default_factory=dict)
    previous: Mapping[str, Any] = field(default_factory=dict)
    """The settings in the studio's inventory."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    edited: Path | None = None
    """The studio.yml if a user has edited it: then flags and file must not contradict it."""


def merge_sources(sources: Sources, terminal: Terminal) -> StudioSettings:
    """Return the merged settings; if the studio is new and there is a terminal, ask for those that were not given.

    Raises:
        UsageError: a value is invalid, or a flag contradicts a file that was edited by hand.
    """
    given = {**sources.file, **sources.flags}
    values = {**sources.defaults, **sources.previous, **given}
    values.setdefault("studio_id", str(uuid.uuid4()))
    settings = studio_yml.validate(values)
    if sources.edited:
        _reject_contradictions(sources, settings, given)
    if not sources.previous and terminal.interactive:
        settings = ask_settings(settings, terminal, given=given)
    return settings


def ask_settings(
    settings: StudioSettings, terminal: Terminal, *, given: Mapping[str, Any] | None = None
) -> StudioSettings:
    """Ask for the storage settings, except those in `given`; the present value is the default of each question."""
    given = given or {}
    if "storage_root" not in given:
        settings = _ask_for_path(settings, "storage_root", "Where the shared directories lie on every host", terminal)
    if not set(PATH_FIELDS) & set(given):
        terminal.print("\n".join(f"  {share.name}: {share.path}" for share in settings.shares()))
        if not terminal.confirm("Keep these directories?"):
            for name in PATH_FIELDS:
                settings = _ask_for_path(
                    settings, name, studio_yml.DESCRIPTIONS[studio_yml.PREFIX + name].rstrip("."), terminal
                )
    if "storage_provider" not in given:
        question = "How they are shared (nfs: by the storage server; existing: they are already; local: one machine)"
        provider = terminal.choose(question, PROVIDERS, flag="--provider", default=settings.storage_provider)
        settings = settings.replace(storage_provider=provider)
    for name, question, flag in (
        ("users", "Accounts of people who may write to them", "--share-user"),
        ("allowed_networks", "Other addresses or networks that may use Ollama and ComfyUI", "--allow"),
    ):
        if name not in given:
            settings = _ask_for_list(settings, name, question, flag, terminal)
    return settings


def parse_roles(values: Sequence[str]) -> dict[str, list[str]]:
    """Parse values of `--role` like `worker1=ollama,comfyui` (and `worker1=` for none).

    Raises:
        UsageError: a value has another form.
    """
    services: dict[str, list[str]] = {}
    for value in values:
        host, equals, roles = value.partition("=")
        names = [role for role in roles.replace(",", " ").split() if role != "none"]
        unknown = [name for name in names if name not in SERVICES]
        if not host or not equals or unknown:
            raise UsageError(
                f"--role {value}: write HOST=SERVICE,... with {', '.join(SERVICES)}, or HOST=none for no service."
            )
        services.setdefault(host, []).extend(names)
    return services


def read_file(path: Path) -> dict[str, Any]:
    """Read the settings of a `--config` file. Roles may be a list or text like `ollama, comfyui`."""
    values = studio_yml.read(path)
    roles = values.get("roles")
    if isinstance(roles, dict):
        values["roles"] = {
            host: named.replace(",", " ").split() if isinstance(named, str) else named or []
            for host, named in roles.items()
        }
    return values


def find_own_address(destination: str) -> str | None:
    """Return the address from which this computer reaches another one, or None if there is no route."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((destination, 9))  # a datagram socket: nothing is sent
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _reject_contradictions(sources: Sources, settings: StudioSettings, given: Mapping[str, Any]) -> None:
    """Reject a given setting that contradicts an edited studio.yml."""
    written = studio_yml.validate({"studio_id": settings.studio_id, **sources.previous}, str(sources.edited))
    for name in given:
        variable = studio_yml.PREFIX + name
        if variable in studio.DEFAULTS and getattr(written, name) != getattr(settings, name):
            value = studio_yml.format_value(getattr(settings, name))
            raise UsageError(
                f"{sources.edited} was edited by hand and has {variable}: "
                f"{studio_yml.format_value(getattr(written, name))}; you asked for {value}. "
                f"Write '{variable}: {value}' there, or leave that setting out."
            )


def _ask_for_path(settings: StudioSettings, name: str, question: str, terminal: Terminal) -> StudioSettings:
    default = getattr(settings, name) or next(
        share.path for share in settings.shares() if studio.PATH_VARIABLES[share.name] == studio_yml.PREFIX + name
    )

    def find_error(answer: str) -> str:
        try:
            studio_yml.validate({**settings.model_dump(), name: answer})
        except UsageError as error:
            return str(error)
        return ""

    answer = terminal.ask(question, flag=PATH_FLAGS.get(name, "--storage-root"), default=default, check=find_error)
    return settings if answer == default else settings.replace(**{name: answer})


def _ask_for_list(settings: StudioSettings, name: str, question: str, flag: str, terminal: Terminal) -> StudioSettings:
    def find_error(answer: str) -> str:
        try:
            studio_yml.validate({**settings.model_dump(), name: _split_words(answer)})
        except UsageError as error:
            return str(error)
        return ""

    answer = terminal.ask(
        f"{question} (separated by commas, none)",
        flag=flag,
        default=", ".join(getattr(settings, name)) or "none",
        check=find_error,
    )
    return settings.replace(**{name: _split_words(answer)})


def _split_words(answer: str) -> list[str]:
    return [word for word in answer.replace(",", " ").split() if word != "none"]
