# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what a workflow needs with what the hosts offer, and print the result."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.host import version_numbers
from ansible_collections.noslop.studio.plugins.plugin_utils import model_progress
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import models as catalogue
from rich.markup import escape
from rich.table import Table

from noslop_driver.commands.models.need_sources import Source
from noslop_driver.commands.models.result import (
    HostNeedsData,
    ModelResultData,
    NeededClassData,
    NeededModelData,
    NeedsData,
)
from noslop_driver.hosts.offers_run import StudioOffers
from noslop_driver.hubs.metadata import Hubs, make_source
from noslop_driver.output.terminal import Terminal
from noslop_driver.workflows.formats import CORE_PACK
from noslop_driver.workflows.requirements import (
    Lacking,
    NeededClass,
    NeededModel,
    Requirements,
    find_lacking,
    list_elsewhere,
)

MISSING, NOT_FETCHED, NOT_OFFERED = "missing", "not fetched", "not offered"
_STATES = {
    MISSING: "missing",
    NOT_FETCHED: "in the catalogue, not fetched",
    NOT_OFFERED: "fetched, and not offered",
}


@dataclass(frozen=True)
class CatalogueState:
    """The models of the catalogue, and the last result of each that was fetched, by its name."""

    models: Sequence[catalogue.Model]
    results: Mapping[str, ModelResultData]

    def find(self, model: NeededModel) -> catalogue.Model | None:
        """Return the entry for a model that a workflow needs; where no folder is clear, one with its file's name."""
        for one in self.models:
            if one.path in model.paths or (not model.folders and posixpath.basename(one.path) == model.name):
                return one
        return None


def compare_hosts(requirements: Requirements, studio: StudioOffers) -> dict[str, Lacking]:
    """Return what each host that could be asked lacks."""
    return {host: find_lacking(requirements, offers) for host, offers in studio.offers.items()}


def list_missing(lacking: Mapping[str, Lacking], state: CatalogueState) -> list[NeededModel]:
    """Return the models that a host lacks and the catalogue does not have."""
    models = dict.fromkeys(model for one in lacking.values() for model in one.models)
    return [model for model in models if state.find(model) is None]


def describe_models(
    lacking: Mapping[str, Lacking],
    studio: StudioOffers,
    state: CatalogueState,
    sources: Mapping[NeededModel, Source],
    hubs: Hubs,
) -> list[NeededModelData]:
    """Return each model that a host lacks, with what is known of it."""
    rows: list[NeededModelData] = []
    for model in dict.fromkeys(model for one in lacking.values() for model in one.models):
        hosts = [host for host, one in lacking.items() if model in one.models]
        entry, source = state.find(model), sources.get(model, Source())
        result = state.results.get(entry.name) if entry else None
        about = entry or source.model or catalogue.Model()
        rows.append(
            {
                "name": model.name,
                "folder": model.folders[0] if len(model.folders) == 1 else "",
                "state": MISSING if entry is None else NOT_OFFERED if result else NOT_FETCHED,
                "size": about.size or (result["size"] if result else 0),
                "sha256": about.sha256 or (result["sha256"] if result else ""),
                "licence": about.licence,
                "gated": about.gated,
                "source": entry.url if entry else make_source(model.link.url, hubs) if not source.problem else "",
                "problem": source.problem,
                "hosts": hosts,
                "elsewhere": {host: paths for host in hosts if (paths := list_elsewhere(model, studio.offers[host]))},
            }
        )
    return rows


def describe_classes(lacking: Mapping[str, Lacking]) -> list[NeededClassData]:
    """Return each node class that a host lacks, with the pack that has it."""
    classes: dict[NeededClass, list[str]] = {}
    for host, one in lacking.items():
        for needed in one.classes:
            classes.setdefault(needed, []).append(host)
    return [
        {"name": needed.name, "pack": needed.pack, "pack_version": needed.pack_version, "hosts": hosts}
        for needed, hosts in classes.items()
    ]


def describe_hosts(
    hosts: Sequence[str], lacking: Mapping[str, Lacking], studio: StudioOffers, min_version: str
) -> list[HostNeedsData]:
    """Return what each host lacks, or why it could not be asked."""
    rows: list[HostNeedsData] = []
    for host in hosts:
        own = lacking.get(host, Lacking((), ()))
        version = studio.offers[host].version if host in studio.offers else ""
        unasked = "" if host in studio.offers else "it was not asked"
        rows.append(
            {
                "host": host,
                "comfyui_version": version,
                "is_too_old": bool(min_version) and version_numbers.is_older(version, min_version),
                "models": [model.name for model in own.models],
                "classes": [needed.name for needed in own.classes],
                "problem": studio.problems.get(host, unasked),
            }
        )
    return rows


def can_be_fetched(row: NeededModelData) -> bool:
    """Return whether the download of a model would help."""
    return row["state"] == NOT_FETCHED or (row["state"] == MISSING and not row["problem"])


def is_complete(data: NeedsData) -> bool:
    """Return whether no host lacks anything."""
    return not any(row["models"] or row["classes"] or row["is_too_old"] or row["problem"] for row in data["hosts"])


def print_needs(data: NeedsData, terminal: Terminal) -> None:
    """Print what each host lacks, and what to do about it."""
    for row in data["hosts"]:
        terminal.print(f"{row['host']}{_format_version(row)}: {_summarize(row, data['min_version'])}")
        if data["made_with"] and not row["is_too_old"]:
            _note_version(row, data["made_with"], terminal)
    if data["switched_off"]:
        terminal.print(f"Nodes that are muted or bypassed do not count: {data['switched_off']}.")
    if data["models"]:
        _print_models(data["models"], terminal)
    if data["classes"]:
        _print_classes(data["classes"], terminal)
    if any(row["is_too_old"] for row in data["hosts"]):
        terminal.print(
            f"The workflow needs ComfyUI {data['min_version']}: "
            f"noslop-driver upgrade --to comfyui={data['min_version']} (or a newer one)"
        )
    if is_complete(data):
        terminal.print("Nothing is missing.")


def _format_version(row: HostNeedsData) -> str:
    return f" (ComfyUI {row['comfyui_version']})" if row["comfyui_version"] else ""


def _summarize(row: HostNeedsData, min_version: str) -> str:
    if row["problem"]:
        return f"could not be asked: {row['problem']}"
    parts = [
        f"{len(names)} {one if len(names) == 1 else many}"
        for names, one, many in (
            (row["models"], "model", "models"),
            (row["classes"], "node class", "node classes"),
        )
        if names
    ]
    parts += [f"ComfyUI {min_version}"] if row["is_too_old"] else []
    return f"lacks {' and '.join(parts)}" if parts else "has all that the workflow needs"


def _note_version(row: HostNeedsData, made_with: str, terminal: Terminal) -> None:
    if version_numbers.is_older(row["comfyui_version"], made_with):
        terminal.warn(
            f"The workflow was made with ComfyUI {made_with}, and {row['host']} runs {row['comfyui_version']}: a node "
            "may have other inputs there."
        )


def _print_models(models: Sequence[NeededModelData], terminal: Terminal) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("model", "size", "licence", "state", "lacking on"):
        table.add_column(heading)
    for row in models:
        name = f"{row['folder']}/{row['name']}" if row["folder"] else f"{row['name']} (folder not known)"
        size = model_progress.format_bytes(row["size"]) if row["size"] else ""
        licence = f"{row['licence']}{' (gated)' if row['gated'] else ''}".strip()
        table.add_row(*map(escape, (name, size, licence, _STATES[row["state"]], ", ".join(row["hosts"]))))
    terminal.print_table(table)
    for row in models:
        if row["problem"]:
            terminal.print(f"  {row['name']} cannot be fetched: {row['problem'].removesuffix('.')}.")
        elif row["source"]:
            terminal.print(f"  {row['name']} comes from {row['source']}")
        if row["state"] == NOT_OFFERED:
            terminal.print(f"  {row['name']} was fetched: 'noslop-driver verify' shows why a host does not offer it.")
        for host, paths in row["elsewhere"].items():
            terminal.print(f"  {host} has {', '.join(paths)}: choose that in the workflow, if it is the same model.")


def _print_classes(classes: Sequence[NeededClassData], terminal: Terminal) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("node class", "is in", "lacking on"):
        table.add_column(heading)
    for row in classes:
        pack = "ComfyUI itself" if row["pack"] == CORE_PACK else row["pack"] or "a pack that the workflow does not name"
        version = f" {row['pack_version']}" if row["pack_version"] else ""
        table.add_row(*map(escape, (row["name"], f"{pack}{version}", ", ".join(row["hosts"]))))
    terminal.print_table(table)
    packs = {row["pack"] for row in classes}
    if CORE_PACK in packs:
        terminal.print("Nodes of ComfyUI itself come with a newer version of it: noslop-driver upgrade")
    if packs - {CORE_PACK}:
        terminal.print("A pack is installed with its repository: noslop-driver nodes add NAME --repo URL")
