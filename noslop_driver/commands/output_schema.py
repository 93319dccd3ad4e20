# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Publish what `--json` prints as a JSON schema: `output_schema.json` beside this file, for programs that read it.

    python -m noslop_driver.commands.output_schema     writes the file anew

`$defs` has one schema for each command, such as `models-list`, and `progress` for a line of `--json-lines`.
"""

from __future__ import annotations

import functools
import json
import operator
import types
import typing
from pathlib import Path
from typing import Any, get_type_hints, is_typeddict

import typing_extensions
from pydantic import BaseModel, ConfigDict, TypeAdapter

from noslop_driver.commands import doctor_result, look_result, result
from noslop_driver.commands.models import result as model_results
from noslop_driver.commands.plan_diff.result import PlanDiffData
from noslop_driver.hosts.discovery import Discovery
from noslop_driver.models import Plan

PATH = Path(__file__).with_suffix(".json")

Results = tuple[type, ...]
"""The types of a command's result. A command that ends with an error before it has one prints the header alone."""

RESULTS: dict[str, Results] = {
    "discover": (Discovery,),
    "ssh-setup": (result.SshSetupData,),
    "plan": (result.PlanData, PlanDiffData),
    "deploy": (result.DeployData, result.BlockedPlanData),
    "upgrade": (result.UpgradeData,),
    "host-add": (result.HostAddData, result.BlockedPlanData),
    "host-remove": (result.HostRemoveData,),
    "host-replace": (result.HostReplaceData,),
    "host-drain": (result.HostDrainData,),
    "host-move-storage": (result.HostMoveStorageData,),
    "nodes-list": (result.NodeListData,),
    "nodes-add": (result.NodeChangeData,),
    "nodes-remove": (result.NodeChangeData,),
    "nodes-rollback": (result.NodeChangeData,),
    "models-list": (model_results.ModelListData,),
    "models-add": (model_results.ModelPullData, model_results.ModelListData),
    "models-remove": (model_results.ModelTrashData, model_results.ModelListData),
    "models-restore": (model_results.ModelTrashData,),
    "models-gc": (model_results.ModelTrashData,),
    "models-need": (model_results.NeedsData,),
    "models-search": (model_results.SearchData,),
    "models-warm": (model_results.ModelWarmData,),
    "models-adopt": (model_results.AdoptData,),
    "models-bench": (model_results.ModelBenchData,),
    "models-dedupe": (model_results.DedupeData,),
    "models-pull": (model_results.ModelPullData,),
    "models-verify": (model_results.ModelPullData,),
    "models-stop": (model_results.ModelPullData,),
    "verify": (result.RunData,),
    "doctor": (doctor_result.DoctorData,),
    "status": (result.StatusData,),
    "env": (look_result.EnvData,),
    "open": (look_result.OpenData,),
    "completion": (look_result.CompletionData,),
    "teardown": (result.TeardownData,),
}


_TYPED_DICT: Any = typing_extensions.TypedDict
"""Makes a type out of values, which type checkers do not know."""


class Header(BaseModel):
    """The keys that every output has. `error` is the text for the user, or null."""

    model_config = ConfigDict(extra="forbid")

    command: str
    ok: bool
    exit_code: int
    error: str | None


def make_schema() -> dict[str, Any]:
    """Return the schema of all commands (JSON Schema, draft 2020-12)."""
    definitions: dict[str, Any] = {}
    commands = {
        command: {"anyOf": [_make_one(Header, definitions), *(_make_one(kind, definitions) for kind in kinds)]}
        for command, kinds in RESULTS.items()
    }
    line = TypeAdapter(_convert(model_results.ProgressData)).json_schema(ref_template="#/$defs/{model}")
    definitions |= line.pop("$defs")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What noslop-driver prints with --json",
        "anyOf": [{"$ref": f"#/$defs/{command}"} for command in commands],
        "$defs": {**commands, "progress": line, **definitions},
    }


def render_schema() -> str:
    """Return the text of `output_schema.json`."""
    return json.dumps(make_schema(), indent=1) + "\n"


def _make_one(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a result with the header's keys, and add what it refers to."""
    # What is printed has been made by `model_dump`, which writes every field.
    schema = TypeAdapter(_convert(kind)).json_schema(mode="serialization", ref_template="#/$defs/{model}")
    definitions |= schema.pop("$defs", {})
    header = Header.model_json_schema()
    schema["properties"] = {**header["properties"], **schema["properties"]}
    schema["required"] = list(dict.fromkeys([*header["required"], *schema.get("required", [])]))
    schema["additionalProperties"] = False
    return schema


@functools.cache
def _convert(kind: Any) -> Any:  # noqa: ANN401 - any type
    """Return a type with each TypedDict as pydantic reads it in Python 3.11: as one of typing_extensions."""
    if kind == result.JsonObject:
        return Plan  # the only model that a result holds
    if is_typeddict(kind):
        hints = get_type_hints(kind, include_extras=True)
        made = _TYPED_DICT(kind.__name__, {name: _convert_key(kind, name, hint) for name, hint in hints.items()})
        made.__pydantic_config__ = ConfigDict(extra="forbid")
        made.__doc__ = kind.__doc__
        return made
    arguments = tuple(map(_convert, typing.get_args(kind)))
    if not arguments or typing.get_origin(kind) is typing.Literal:
        return kind
    if isinstance(kind, types.UnionType):
        return functools.reduce(operator.or_, arguments)
    return typing.get_origin(kind)[arguments]


def _convert_key(kind: Any, name: str, hint: Any) -> Any:  # noqa: ANN401 - any type
    """Return the type of a key of a TypedDict, which says whether the key may be missing."""
    if typing.get_origin(hint) is typing.NotRequired:
        return typing_extensions.NotRequired[_convert(typing.get_args(hint)[0])]
    return typing_extensions.NotRequired[_convert(hint)] if name in kind.__optional_keys__ else _convert(hint)


if __name__ == "__main__":
    PATH.write_text(render_schema(), encoding="utf-8")
