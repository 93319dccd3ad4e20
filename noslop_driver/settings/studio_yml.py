# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`group_vars/all/studio.yml`: the one file that a person edits. Written with comments, read back, and its schema.

A wishes file (`--wishes`) has the same names, and `server` and `roles` beside them.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.noslop.studio.plugins.module_utils import studio
from pydantic import ValidationError

from noslop_driver.errors import UsageError
from noslop_driver.models import Wishes

PREFIX = "noslop_"
CHOICES = ("server", "roles")
"""What a wishes file may say beside the variables: who does what, which an inventory says by its groups."""

SCHEMA_PATH = Path(__file__).with_name("schema.json")

ABOUT: dict[str, str] = {
    "noslop_studio_id": "Tells this studio's directories from another's. Never change it.",
    "noslop_storage_root": "Where the shared directories lie, the same path on every host.",
    "noslop_ollama_models_dir": "Ollama's models.",
    "noslop_comfyui_models_dir": "ComfyUI's models: checkpoints, loras, vae and the others.",
    "noslop_comfyui_custom_nodes_dir": "ComfyUI's custom nodes.",
    "noslop_project_storage_dir": "The projects and everything that was made for them.",
    "noslop_media_cache_dir": "Previews and other files that can be made again.",
    "noslop_storage_provider": (
        "nfs: the storage server shares its disks. local: one machine alone. "
        "existing: the file system is shared already (a NAS, CephFS); it is checked, never mounted or exported."
    ),
    "noslop_min_free_gb": "The storage server is refused when it has less free space than this, in GB.",
    "noslop_require_own_file_system": (
        "true: the storage server is refused while a shared directory lies on the same file system as other things. "
        "Root on a member can forge file handles, and read there what every account of the server may read."
    ),
    "noslop_uid": (
        "Numbers of the studio's accounts, the same on every host. `noslop` owns the projects and the media cache."
    ),
    "noslop_gid": "The number of its group, whose members are the people who may write to them.",
    "noslop_models_id": "`noslop-models` owns ComfyUI's models.",
    "noslop_nodes_id": "`noslop-nodes` owns ComfyUI's custom nodes.",
    "noslop_ollama_id": "`noslop-ollama` owns Ollama's models, and runs Ollama.",
    "noslop_comfyui_id": "`noslop-comfyui` runs ComfyUI.",
    "noslop_backend_id": "`noslop-backend` runs the backend.",
    "noslop_build_id": "`noslop-build` builds what is installed, and owns nothing that stays.",
    "noslop_users": "Accounts of people who may write to the shared directories.",
    "noslop_custom_nodes_writers": (
        "Who may change custom nodes: server, people and programs of the storage server only, because every host runs "
        "this code; members, every host of the studio."
    ),
    "noslop_models_writers": "Who may change models: members, every host of the studio; server, the server only.",
    "noslop_allowed_networks": (
        "Who, besides the studio's own hosts, may use Ollama and ComfyUI: addresses and networks like 192.168.1.0/24. "
        f"{studio.OPEN_NETWORK} The shares are never opened to them."
    ),
    "noslop_artifact_mirror": "Where downloads come from instead of the vendors' own addresses.",
    "noslop_firewall_enabled": "false: no rules are made, and the services listen on 127.0.0.1 only.",
}
"""Each variable in the words of the documentation: comments of the file and descriptions of the schema."""

_PATHS = frozenset(studio.PATH_VARIABLES.values())


def render(wishes: Wishes) -> str:
    """Write the wishes as a file that explains itself."""
    lines = [
        "---",
        "# What this studio is. Edit it and deploy again: the driver never writes over your changes.",
        "# yaml-language-server: $schema=../../.noslop/studio.schema.json",
    ]
    derived = {studio.PATH_VARIABLES[share.name]: share.path for share in wishes.shares()}
    for name, value in wishes.variables().items():
        lines += ["", *_comment(ABOUT[name])]
        if value is None:
            lines += [f"# {name}: {derived[name]}"]
        else:
            lines += [f"{name}: {scalar(value)}"]
    return "\n".join(lines) + "\n"


def scalar(value: object) -> str:
    """One value as YAML, on one line."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def read(path: Path) -> dict[str, Any]:
    """Read the wishes of a studio's file, or of a wishes file, under the names of `Wishes`.

    Values of other roles' variables are left alone. What is not in the file is not in the result.

    Raises:
        UsageError: it is no such file, or has a name that means nothing.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}).") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: is no YAML that Ansible could read: {error}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UsageError(f"{path}: holds {type(data).__name__}, not names with values like `noslop_min_free_gb: 50`.")
    found: dict[str, Any] = {}
    for name, value in data.items():
        if name in CHOICES:
            found[name] = value
        elif name in studio.DEFAULTS:
            if _is_template(value):
                raise UsageError(
                    f"{path}: {name} is a template ({value}), which the driver cannot check before it knows the hosts. "
                    "Write the value itself."
                )
            found[name.removeprefix(PREFIX)] = None if name in _PATHS and not value else value
        elif str(name).startswith(PREFIX):
            raise UsageError(f"{path}: {name} means nothing. {suggest(str(name), studio.DEFAULTS)}")
    return found


def suggest(name: str, known: Mapping[str, object]) -> str:
    """Say what a mistyped name may have meant."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"The names are: {', '.join(known)}."


def validate(values: Mapping[str, Any], source: str = "") -> Wishes:
    """Make wishes of values that come from `source`.

    Raises:
        UsageError: one of them is not what it must be; the message names it.
    """
    try:
        return Wishes.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError("\n".join(f"{source}: {line}" if source else line for line in _explain(error))) from error


def schema() -> dict[str, Any]:
    """The JSON Schema of the file, made from the model."""
    model = Wishes.model_json_schema()
    properties = {}
    for variable, about in ABOUT.items():
        name = variable.removeprefix(PREFIX)
        described = {key: value for key, value in model["properties"][name].items() if key != "title"}
        properties[variable] = {"description": about, **described}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A NoSlop studio (group_vars/all/studio.yml)",
        "type": "object",
        "required": ["noslop_studio_id"],
        "properties": properties,
        # Variables of single roles may stand in the same file.
        "patternProperties": {f"^(?!{PREFIX})": {}},
        "additionalProperties": False,
    }


def schema_text() -> str:
    """The schema as it stands in `settings/schema.json`."""
    return json.dumps(schema(), indent=2) + "\n"


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        place = [str(part) for part in problem["loc"]]
        known = set(Wishes.model_fields) - set(CHOICES)
        name = ".".join([PREFIX + place[0] if place[0] in known else place[0], *place[1:]]) if place else ""
        message = problem["msg"].removeprefix("Value error, ")
        given = "" if problem["type"] in ("missing", "value_error") else f" (not {problem['input']!r})"
        yield ": ".join(part for part in (name, f"{message}{given}") if part)


def _is_template(value: object) -> bool:
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def _comment(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > 100:
            lines.append("")
        lines[-1] += f" {word}"
    return [f"#{line}" for line in lines]


if __name__ == "__main__":
    SCHEMA_PATH.write_text(schema_text(), encoding="utf-8")
