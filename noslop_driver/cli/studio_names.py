# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Complete names of a studio in a shell: studios, hosts, models and custom nodes. Reads files only.

click calls these functions while a line is edited, with the parameters before the word. An error of theirs would be
printed into that line, so what cannot be read has no names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import click
from ansible_collections.noslop.studio.plugins.module_utils.studio import SERVICES

from noslop_driver.commands.studio import find_studio, list_studios
from noslop_driver.errors import UsageError
from noslop_driver.inventory import names

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def complete_studio(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the studios below `inventories`."""
    return _select((path.name for path in list_studios()), incomplete)


def complete_host(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the hosts of the studio, without those that the line has already."""
    return _complete(names.list_hosts, context, parameter, incomplete)


def complete_model(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the models of the studio's catalogue, without those that the line has already."""
    return _complete(names.list_models, context, parameter, incomplete)


def complete_node(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the custom nodes of the studio's list."""
    return _complete(names.list_nodes, context, parameter, incomplete)


def complete_place(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the hosts of the studio, and the services."""
    return _complete(lambda path: [*names.list_hosts(path), *SERVICES], context, parameter, incomplete)


def _complete(
    list_names: Callable[[Path], Iterable[str]], context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    try:
        studio = find_studio(
            inventory=context.params.get("inventory"), name=context.params.get("studio"), must_exist=True
        )
    except (UsageError, OSError):
        return []  # none, or several and none is named
    present = context.params.get(parameter.name or "")
    used = present if isinstance(present, tuple) else ()
    return _select((name for name in list_names(studio.path) if name not in used), incomplete)


def _select(candidates: Iterable[str], incomplete: str) -> list[str]:
    """Return the names that begin with a word, and that are one word of a line."""
    return [
        name for name in candidates if name.startswith(incomplete) and name.isprintable() and not set(name) & set(" ,")
    ]
