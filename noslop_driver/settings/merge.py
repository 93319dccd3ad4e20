# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merge a studio's settings from flags, a file, the studio's own studio.yml, answers and defaults, in this order."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio

from noslop_driver.choices import PREFIX
from noslop_driver.errors import UsageError
from noslop_driver.inventory import studio_yml
from noslop_driver.models import StudioSettings


@dataclass(frozen=True)
class Sources:
    """The sources of settings, each under the names of `StudioSettings`, and without those that were not given."""

    flags: Mapping[str, Any] = field(default_factory=dict)
    file: Mapping[str, Any] = field(default_factory=dict)
    previous: Mapping[str, Any] = field(default_factory=dict)
    """The settings in the studio's inventory."""
    answers: Mapping[str, Any] = field(default_factory=dict)
    """The answers to the questions about a new studio."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    edited: Path | None = None
    """The studio.yml if a user has edited it: then flags and file must not contradict it."""


def merge(sources: Sources) -> StudioSettings:
    """Return the merged settings. A new studio gets an id.

    Raises:
        UsageError: a value is invalid, or a flag contradicts a file that was edited by hand.
    """
    given = {**sources.file, **sources.flags}
    values = {**sources.defaults, **sources.answers, **sources.previous, **given}
    values.setdefault("studio_id", str(uuid.uuid4()))
    settings = studio_yml.validate(values)
    if sources.edited:
        _reject_contradictions(sources, settings, given)
    return settings


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


def _reject_contradictions(sources: Sources, settings: StudioSettings, given: Mapping[str, Any]) -> None:
    """Reject a given setting that contradicts an edited studio.yml."""
    written = studio_yml.validate({"studio_id": settings.studio_id, **sources.previous}, str(sources.edited))
    for name in given:
        variable = PREFIX + name
        if variable in studio.DEFAULTS and getattr(written, name) != getattr(settings, name):
            value = studio_yml.format_value(getattr(settings, name))
            raise UsageError(
                f"{sources.edited} was edited by hand and has {variable}: "
                f"{studio_yml.format_value(getattr(written, name))}; you asked for {value}. "
                f"Write '{variable}: {value}' there, or leave that setting out."
            )
