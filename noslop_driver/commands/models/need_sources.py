# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the entries of the catalogue with which the models that a workflow needs can be fetched."""

from __future__ import annotations

import posixpath
import urllib.error
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.models.offers import is_model_file
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import models as catalogue

from noslop_driver.errors import DriverError
from noslop_driver.hubs.metadata import Hubs, ModelEntry, is_of, make_entry
from noslop_driver.workflows.requirements import NeededModel


@dataclass(frozen=True)
class Source:
    """The entry with which a model can be fetched, or the problem why it cannot be."""

    model: catalogue.Model | None = None
    entry: ModelEntry | None = None
    problem: str = ""


def find_sources(models: Iterable[NeededModel], hubs: Hubs) -> dict[NeededModel, Source]:
    """Return where each model comes from, with what its hub says of it.

    Only hub and marketplace are asked: a workflow may come from anywhere, and could name any server.
    """
    sources: dict[NeededModel, Source] = {}
    silent: dict[str, str] = {}
    for model in models:
        server = next((one for one in (hubs.hub, hubs.market) if _is_on(one, model, hubs)), "")
        if server in silent:
            sources[model] = Source(problem=silent[server])
            continue
        try:
            sources[model] = _find_source(model, hubs, ask=bool(server))
        except DriverError as error:
            sources[model] = Source(problem=str(error))
            cause = error.__cause__
            if isinstance(cause, OSError) and not isinstance(cause, urllib.error.HTTPError):
                silent[server] = str(error)
    return sources


def _is_on(server: str, model: NeededModel, hubs: Hubs) -> bool:
    own = catalogue.HUB if server == hubs.hub else catalogue.MARKET
    return is_of(model.link.url, server, own)


def _find_source(model: NeededModel, hubs: Hubs, *, ask: bool) -> Source:
    if not model.link.url:
        return Source(problem="the workflow names no address for it")
    if not is_model_file(model.name):
        return Source(problem="its name is not that of a model's file")
    if len(model.folders) != 1:
        return Source(problem="nothing says into which folder it belongs")
    folder, _, file = model.paths[0].rpartition("/")
    entry: ModelEntry = {"folder": folder, "file": file, "url": model.link.url}
    digest = model.link.sha256
    if digest:
        entry["sha256"] = digest
    # The catalogue's rules before any request: they refuse addresses with passwords, and names that lead elsewhere.
    source = _parse(entry, hubs)
    if source.problem or not ask:
        return source
    about = make_entry(model.link.url, hubs)
    if digest and about.get("sha256", digest) != digest:
        return Source(problem=f"the workflow names the SHA-256 {digest}, and what is there has {about['sha256']}")
    about.pop("folder", None)
    if posixpath.basename(str((about.get("hub") or {}).get("file") or "")) != file:
        about["file"] = file
    return _parse({"folder": folder, **about}, hubs)


def _parse(entry: ModelEntry, hubs: Hubs) -> Source:
    try:
        (model,) = catalogue.parse_models([entry], hubs.hub, hubs.market)
    except ValueError as error:
        # Without the words that name a place in the studio's file: the entry is not in it.
        problem = str(error).removeprefix(f"{catalogue.VARIABLE}: entry 1").removeprefix(f" ({entry.get('file')})")
        return Source(problem=problem.removeprefix(": "))
    return Source(model, entry)
