# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remember what runs reported of the studio's models, and describe it for `status`. Connects to no host."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ansible_collections.noslop.studio.plugins.plugin_utils import model_progress
from ansible_collections.noslop.studio.plugins.plugin_utils.validation import models as catalogue

from noslop_driver import records
from noslop_driver.commands.models.catalogue import read_catalogue
from noslop_driver.commands.models.result import ModelMetricsData, ModelResultData
from noslop_driver.commands.result import ModelStatusData, WarmModelData
from noslop_driver.errors import UsageError
from noslop_driver.hubs.metadata import ModelEntry
from noslop_driver.inventory.directory import Member, StudioDirectory

RESULTS = "models.json"
"""The file in `.noslop` with the last result of each model, as the hosts reported it."""

METRICS = "models-metrics.json"
"""The file in `.noslop` with what all runs from this computer fetched, saved and verified."""

WARM = "models-warm.json"
"""The file in `.noslop` with what of each model was in the memory of each host, when a run last looked."""

REMOVED = "removed-models.json"
"""The file in `.noslop` with the entries of removed models, by name, for the way back."""

CHECK = "services.models_intact"
"""The check of the verification with the result of the daily check."""


def read_results(studio: StudioDirectory) -> dict[str, ModelResultData]:
    """Return the last result of each model, by its name."""
    results: dict[str, ModelResultData] = _read(studio, RESULTS, {})
    return results


def save_results(studio: StudioDirectory, results: Sequence[ModelResultData]) -> None:
    """Remember the results of a run. A model that failed keeps its result of before."""
    merged = {**read_results(studio), **{one["path"]: one for one in results if one["state"] != "failed"}}
    _write(studio, RESULTS, merged)


def read_metrics(studio: StudioDirectory) -> ModelMetricsData:
    """Return the sums of all runs; zeros before the first."""
    metrics: ModelMetricsData = {"since": None, "fetched_bytes": 0, "saved_bytes": 0, "failed": 0, "verified": {}}
    metrics.update(_read(studio, METRICS, {}))
    return metrics


def add_metrics(studio: StudioDirectory, results: Sequence[ModelResultData], members: Sequence[Member]) -> None:
    """Add the results of a run to the sums.

    A model that was fetched once saves its size for each further host that runs its service.
    """
    if not results:
        return
    metrics, now = read_metrics(studio), _now()
    users = {name: sum(name in member.groups for member in members) for name in ("comfyui", "ollama")}
    ollama = {model.ollama for model in read_catalogue(members) if model.ollama}
    for one in results:
        if one["state"] == "fetched":
            others = max(0, users["ollama" if one["path"] in ollama else "comfyui"] - 1)
            metrics["saved_bytes"] += one["size"] * others
        if one["state"] == "verified":
            metrics["verified"][one["path"]] = now
        metrics["fetched_bytes"] += one["received"]
        metrics["failed"] += one["state"] == "failed"
    metrics["since"] = metrics["since"] or now
    _write(studio, METRICS, metrics)


def read_warm(studio: StudioDirectory) -> list[WarmModelData]:
    """Return what was in memory when a run last looked."""
    rows: list[WarmModelData] = _read(studio, WARM, [])
    return rows


def save_warm(studio: StudioDirectory, rows: Sequence[Mapping[str, Any]]) -> list[WarmModelData]:
    """Remember what a run reported; other hosts and models keep their entries. Return what it reported."""
    new = [WarmModelData(**row, measured=_now()) for row in rows]  # type: ignore[typeddict-item]  # a module's result
    replaced = {(row["host"], row["path"]) for row in new}
    if new:
        old = [row for row in read_warm(studio) if (row["host"], row["path"]) not in replaced]
        _write(studio, WARM, sorted([*old, *new], key=lambda row: (row["host"], row["path"])))
    return new


def read_removed(studio: StudioDirectory) -> dict[str, ModelEntry]:
    """Return the entries of removed models, by name."""
    entries: dict[str, ModelEntry] = _read(studio, REMOVED, {})
    return entries


def save_removed(studio: StudioDirectory, entries: Mapping[str, ModelEntry]) -> None:
    """Remember the entries of removed models."""
    _write(studio, REMOVED, entries)


def list_warm_hosts(model: catalogue.Model, members: Sequence[Member]) -> list[str]:
    """Return the hosts that are to keep a model in memory."""
    return [member.name for member in members if model.is_warm_on(member.name, member.groups)]


def select_wanted(
    rows: Sequence[WarmModelData], models: Sequence[catalogue.Model], members: Sequence[Member]
) -> list[WarmModelData]:
    """Return the rows of models and hosts that the inventory still names."""
    wanted = {(host, model.name) for model in models for host in list_warm_hosts(model, members)}
    return [row for row in rows if (row["host"], row["path"]) in wanted]


def describe_models(studio: StudioDirectory, members: Sequence[Member]) -> ModelStatusData:
    """Return what is recorded of the models of the catalogue."""
    models: list[catalogue.Model] = []
    problem = ""
    try:
        models = read_catalogue(members)
    except UsageError as error:
        problem = str(error)
    results, metrics = read_results(studio), read_metrics(studio)
    on_share = [results[model.name] for model in models if model.name in results]
    times = [metrics["verified"][model.name] for model in models if model.name in metrics["verified"]]
    return {
        "catalogue": len(models),
        "problem": problem,
        "on_share": len(on_share),
        "size": sum(one["size"] for one in on_share),
        "fetched_bytes": metrics["fetched_bytes"],
        "saved_bytes": metrics["saved_bytes"],
        "failed": metrics["failed"],
        "since": metrics["since"],
        "verified": len(times),
        "verified_since": min(times, default=None),
        "daily_check": _read_daily_check(studio),
        "warm": select_wanted(read_warm(studio), models, members),
    }


def format_models(data: ModelStatusData) -> list[str]:
    """Return lines about the models; none for a studio without a catalogue."""
    if data["problem"]:
        return [f"models: {data['problem']}"]
    if not data["catalogue"]:
        return []
    size, fetched, saved = map(model_progress.format_bytes, (data["size"], data["fetched_bytes"], data["saved_bytes"]))
    lines = [f"models: {data['on_share']} of {data['catalogue']} are on the share ({size})"]
    if data["since"]:
        lines.append(f"  since {data['since']}: {fetched} fetched, {saved} not fetched again, {data['failed']} failed")
    since = f", since {data['verified_since']}" if data["verified_since"] else ""
    lines.append(f"  verified by 'models verify': {data['verified']} of {data['catalogue']}{since}")
    lines += [f"  checked every day: {data['daily_check']}"] if data["daily_check"] else []
    return lines + [f"  {format_warm(row)}" for row in data["warm"]]


def format_warm(row: WarmModelData) -> str:
    """Return what of a model is in the memory of a host, as a line."""
    resident, size = map(model_progress.format_bytes, (row["resident"], row["size"]))
    state = {"warm": "warm", "partly": "partly in memory", "cold": "not in memory", "no_room": "does not fit"}
    parts = f": {resident} of {size}" if row["size"] else ""
    reason = f" ({row['message']})" if row["message"] else ""
    return f"{row['path']} on {row['host']}: {state.get(row['state'], row['state'])}{parts}{reason}"


def _read_daily_check(studio: StudioDirectory) -> str:
    record = records.find_latest(studio.records, having="verification.json")
    if record is None:
        return ""
    report = json.loads((record[0] / "verification.json").read_text(encoding="utf-8"))
    return next((str(check["seen"]) for check in report.get("checks", []) if check.get("check") == CHECK), "")


def _read(studio: StudioDirectory, name: str, default: Any) -> Any:  # noqa: ANN401 - what JSON can hold
    path = studio.state_dir / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else default


def _write(studio: StudioDirectory, name: str, value: object) -> None:
    studio.write_state(name, json.dumps(value, indent=1, sort_keys=True) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
