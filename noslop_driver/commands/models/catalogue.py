# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the studio's catalogue of models, and where hub and marketplace are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible_collections.noslop.studio.plugins.plugin_utils import token_file
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import models as catalogue

from noslop_driver.errors import UsageError
from noslop_driver.hubs.metadata import Hubs
from noslop_driver.inventory.directory import Member


def read_catalogue(members: Sequence[Member]) -> list[catalogue.Model]:
    """Return the models of the inventory, as the storage server has them.

    Raises:
        UsageError: an entry is unusable, or a host that is to keep a model warm has no use for it.
    """
    variables = _find_server(members).variables
    try:
        models = catalogue.parse_models(variables.get(catalogue.VARIABLE) or [], *_read_addresses(members))
    except ValueError as error:
        raise UsageError(str(error)) from error
    hosts = {
        group: [member.name for member in members if group in member.groups]
        for group in ("storage_server", "comfyui", "ollama")
    }
    problems = catalogue.find_unknown_hosts(models, hosts, hosts["storage_server"])
    if problems:
        raise UsageError(" ".join(problems))
    return models


def read_hubs(members: Sequence[Member]) -> Hubs:
    """Return hub and marketplace of the inventory, as the storage server has them, with their tokens.

    Raises:
        UsageError: a token cannot be read.
    """
    tokens: object = _find_server(members).variables.get("noslop_models_tokens") or {}
    if not isinstance(tokens, Mapping):
        raise UsageError(f"noslop_models_tokens is {tokens!r}. Write the path of a file for each origin.")
    try:
        return Hubs(*_read_addresses(members), {str(key): token_file.read(str(path)) for key, path in tokens.items()})
    except ValueError as error:
        raise UsageError(str(error)) from error


def _find_server(members: Sequence[Member]) -> Member:
    return next((member for member in members if "storage_server" in member.groups), members[0])


def _read_addresses(members: Sequence[Member]) -> tuple[str, str]:
    variables = _find_server(members).variables
    hub = variables.get("noslop_models_hub") or catalogue.HUB
    return str(hub), str(variables.get("noslop_models_market") or catalogue.MARKET)
