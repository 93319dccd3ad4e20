# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search the catalogue, the official templates, the hub and the marketplace for models. Asks no host."""

from __future__ import annotations

import getpass
import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from ansible_collections.noslop.studio.plugins.module_utils.checks.check import shorten
from ansible_collections.noslop.studio.plugins.plugin_utils import model_progress
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import models as catalogue

from noslop_driver.commands.models.catalogue import read_catalogue, read_hubs
from noslop_driver.commands.models.result import ModelResultData, SearchData, SearchResultData
from noslop_driver.commands.models.state import read_results
from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult
from noslop_driver.commands.studio import read_members
from noslop_driver.errors import DriverError, ExitCode
from noslop_driver.hubs.metadata import Hubs, make_source
from noslop_driver.hubs.search import Hit, matches, search_hub, search_market
from noslop_driver.inventory.directory import StudioDirectory
from noslop_driver.output.terminal import Terminal
from noslop_driver.workflows import templates
from noslop_driver.workflows.formats import ModelLink


def search_models(studio: StudioDirectory, options: Options, terminal: Terminal) -> CommandResult:
    """Print the models that match all words. A source that does not answer is named, and the others are shown."""
    words = [word for text in options.words for word in text.split()]
    members = read_members(studio.path, options.user or getpass.getuser())
    listed, results, hubs = read_catalogue(members), read_results(studio), read_hubs(members)
    searches: dict[str, Callable[[], list[Hit]]] = {
        "catalogue": lambda: _search_catalogue(words, listed, results),
        "templates": lambda: _search_templates(words, hubs),
        "hub": lambda: search_hub(words, options.most, hubs),
        "marketplace": lambda: search_market(words, options.most, hubs),
    }
    rows: list[SearchResultData] = []
    problems: dict[str, str] = {}
    for where, search in searches.items():
        try:
            hits = search()
        except DriverError as error:
            problems[where] = str(error)
            continue
        rows += [_describe(where, hit, listed, results) for hit in hits[: options.most]]
        if len(hits) > options.most:
            terminal.print(f"There are {len(hits) - options.most} more of the {where}: --limit shows them.")
    if not templates.list_templates():
        terminal.print(f"The official templates were not searched. To have them: {templates.INSTALL}")
    _print_rows(rows, terminal)
    for where, problem in problems.items():
        terminal.warn(f"The {where} was not searched: {problem}")
    data: SearchData = {"inventory": str(studio.path), "models": rows, "problems": problems}
    return CommandResult(ExitCode.OK, cast("Mapping[str, object]", data))


def _search_catalogue(
    words: Sequence[str], listed: Sequence[catalogue.Model], results: Mapping[str, ModelResultData]
) -> list[Hit]:
    hits = []
    for model in listed:
        if matches(words, model.name, model.url, model.licence):
            result = results.get(model.name)
            folder, _, name = model.path.rpartition("/")
            hits.append(
                Hit(
                    name=name or model.ollama,
                    source=model.url or f"ollama:{model.ollama}",
                    folder=folder,
                    size=model.size or (result["size"] if result else 0),
                    sha256=model.sha256 or (result["sha256"] if result else ""),
                    licence=model.licence,
                    gated=model.gated,
                )
            )
    return hits


def _search_templates(words: Sequence[str], hubs: Hubs) -> list[Hit]:
    """Return the models of the official templates, each once, with the templates that name it."""
    titles: dict[tuple[str, str], list[str]] = {}
    links: dict[tuple[str, str], ModelLink] = {}
    for template, link in templates.list_links():
        if matches(words, link.name, link.url, template.name, template.title):
            key = (link.folder, link.url)
            links.setdefault(key, link)
            titles.setdefault(key, []).append(template.title)
    return [
        Hit(
            name=link.name,
            source=make_source(link.url, hubs),
            folder=link.folder,
            sha256=link.sha256,
            about=", ".join(dict.fromkeys(titles[key])),
        )
        for key, link in links.items()
    ]


def _describe(
    where: str, hit: Hit, listed: Sequence[catalogue.Model], results: Mapping[str, ModelResultData]
) -> SearchResultData:
    """Return a hit, with the catalogue's entry for the same content; where a checksum is missing, for the same name."""
    own = next((model for model in listed if _is_same(hit, model, results)), None)
    return {
        "where": where,
        "name": hit.name,
        "folder": hit.folder,
        "size": hit.size,
        "sha256": hit.sha256,
        "licence": hit.licence,
        "gated": hit.gated,
        "source": hit.source,
        "about": hit.about,
        "catalogue": own.name if own else "",
        "fetched": bool(own and own.name in results),
    }


def _is_same(hit: Hit, model: catalogue.Model, results: Mapping[str, ModelResultData]) -> bool:
    result = results.get(model.name)
    digest = model.sha256 or (result["sha256"] if result else "")
    if hit.sha256 and digest:
        return hit.sha256 == digest
    return hit.name in (posixpath.basename(model.path), model.ollama)


def _print_rows(rows: Sequence[SearchResultData], terminal: Terminal) -> None:
    """Print the models, each with its source in a line of its own, to be copied."""
    if not rows:
        terminal.print("Nothing matches all of these words.")
        return
    where = ""
    for row in rows:
        if row["where"] != where:
            where = row["where"]
            terminal.print(f"{where}:")
        size = model_progress.format_bytes(row["size"]) if row["size"] else ""
        licence = f"{row['licence'] and 'licence '}{row['licence']}{' (gated)' if row['gated'] else ''}".strip()
        state = f"here as {row['catalogue']}{'' if row['fetched'] else ', not fetched'}" if row["catalogue"] else ""
        about = f"in {shorten(row['about'])}" if row["about"] else ""
        terminal.print(f"  {', '.join(text for text in (row['name'], size, licence, state, about) if text)}")
        terminal.print(f"    {row['source']}{' --folder ' if row['folder'] else ''}{row['folder']}")
    terminal.print("To have one: noslop-driver models add SOURCE --folder FOLDER")
