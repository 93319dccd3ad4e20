# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render `group_vars/all/studio.yml`, the file that users edit, read it back, and make its JSON Schema.

A `--config` file has the same variables, and `server` and `roles`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.host.addresses import OPEN_NETWORK
from pydantic import ValidationError

from noslop_driver.choices import PREFIX
from noslop_driver.errors import UsageError
from noslop_driver.models import StudioSettings

ROLE_SETTINGS = ("server", "roles")
"""Settings of a `--config` file that are not variables, because the groups of an inventory have them."""

SCHEMA_PATH = Path(__file__).with_name("schema.json")

DESCRIPTIONS: dict[str, str] = {
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
    "noslop_nfs_transport": (
        "How the shares travel: plain, in clear text; mtls, over TLS between hosts that prove themselves with a "
        "certificate; tls, the same, and only the server needs to prove itself. TLS needs Debian 13 on every host."
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
    "noslop_extra_shares": (
        "Further directories that the hosts share: name; optionally path, writers (members or server), clients, the "
        "hosts that mount it, read_only, those that may only read, and options of its mounts, as nfs(5) has them."
    ),
    "noslop_allowed_networks": (
        "Who, besides the studio's own hosts, may use Ollama and ComfyUI: addresses and networks like 192.168.1.0/24. "
        f"{OPEN_NETWORK} The shares are never opened to them."
    ),
    "noslop_custom_nodes": (
        "Custom nodes that the studio installs on the share and on every host: name, repo and commit (40 hexadecimal "
        "digits), or archive and sha256; optionally hosts. Nodes that are on the share already stay as they are."
    ),
    "noslop_models": (
        "Models that the studio fetches once for all hosts: folder and url, hub (repo, file, commit) or civitai (the "
        "number of a version), with sha256 and size where they are known; or ollama, a name with its tag. warm: true, "
        "or a list of hosts, keeps one in memory."
    ),
    "noslop_models_tokens": (
        "Files on this computer, mode 0600, with a token each, by the origin it is for, like https://huggingface.co."
    ),
    "noslop_models_rate_mb": "Megabytes a second that downloads of models may take together; 0 is no limit.",
    "noslop_models_hub": "Where models with hub come from: the hub itself, or a mirror of it.",
    "noslop_models_market": "Where models with civitai come from.",
    "noslop_models_warm_memory_percent": (
        "How much of the memory that programs could have, in percent, a host uses for models with warm. A model that "
        "does not fit is not read."
    ),
    "noslop_models_daily_gb": (
        "Gigabytes of models that the storage server compares with their checksums each day; 0 for none."
    ),
    "noslop_models_cache": (
        "Where a host keeps copies of the models that it uses, so that they load from its own disk: path, on a disk of "
        "each host, and size, like 200GB. {} for none. host_vars may have another value for one host."
    ),
    "noslop_monitor_enabled": (
        "true: every host checks its own part of the studio each 30 seconds: shares, exports, firewall, services."
    ),
    "noslop_monitor_textfile_directory": (
        "Where Prometheus' node exporter reads files: each host writes its results there, if it has this directory."
    ),
    "noslop_monitor_webhook": (
        "Where hosts send what turned bad or good again: url, and format: json; or secret_file, a file on this "
        "computer, mode 0600, that has the URL, and format: json, slack or discord."
    ),
    "noslop_artifact_mirror": "Where downloads come from instead of the vendors' own addresses.",
    "noslop_comfyui_version": (
        "The version of ComfyUI: a release, like 0.33.0, or a commit. Empty: the release that NoSlop is tested with."
    ),
    "noslop_ollama_version": (
        "The version of Ollama: a release, like 0.32.7. Empty: the release that NoSlop is tested with."
    ),
    "noslop_firewall_enabled": "false: no rules are made, and the services listen on 127.0.0.1 only.",
    "noslop_announce": (
        "true: hosts announce their services by mDNS, to every machine on their networks. Without the firewall they "
        "never do, because the services then listen on 127.0.0.1 only."
    ),
    "noslop_smb_enabled": "true: the storage server serves the shares to Windows and macOS too.",
    "noslop_smb_users": (
        "Who may use them: name, and password_file, a file on this computer that only you can read; relative paths "
        "begin in the directory of this inventory. Passwords in a vault: smb_server_passwords, in another file."
    ),
    "noslop_smb_networks": "Addresses and networks of their machines. Empty: those of noslop_allowed_networks.",
    "noslop_smb_encryption": "offered: every client that can encrypts. required: no other client may connect.",
    "noslop_smb_models_writable": (
        "true: these people may change ComfyUI's models. A model can be a file that runs code on the hosts (pickle)."
    ),
    "noslop_smb_discovery": "true: Windows (wsdd) and macOS (mDNS) find the server by themselves.",
}
"""The description of each variable, for comments of the file and for the schema."""

_PATHS = frozenset(studio.PATH_VARIABLES.values())


def render(settings: StudioSettings) -> str:
    """Render the settings as YAML with comments."""
    lines = [
        "---",
        "# What this studio is. Edit it and deploy again: the driver never writes over your changes.",
        "# yaml-language-server: $schema=../../.noslop/studio.schema.json",
    ]
    derived_paths = {
        studio.PATH_VARIABLES[share.name]: share.path
        for share in settings.shares()
        if share.name in studio.PATH_VARIABLES
    }
    for name, value in settings.variables().items():
        lines += ["", *_wrap_comment(DESCRIPTIONS[name])]
        if value is None:
            lines += [f"# {name}: {derived_paths[name]}"]
        else:
            lines += [f"{name}: {format_value(value)}"]
    return "\n".join(lines) + "\n"


def format_value(value: object) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**9, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def read(path: Path) -> dict[str, Any]:
    """Read the settings in studio.yml or in a `--config` file, under the names of `StudioSettings`.

    Variables of single roles are ignored. The result has only settings that are in the file.

    Raises:
        UsageError: the file cannot be read, or has an unknown name.
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
    settings: dict[str, Any] = {}
    for name, value in data.items():
        if name in ROLE_SETTINGS:
            settings[name] = value
        elif name in studio.DEFAULTS:
            if _is_template(value):
                raise UsageError(
                    f"{path}: {name} is a template ({value}), which the driver cannot check before the hosts are "
                    "known. Write the value itself."
                )
            settings[name.removeprefix(PREFIX)] = None if name in _PATHS and not value else value
        elif str(name).startswith(PREFIX):
            raise UsageError(f"{path}: {name} is not a setting of a studio. {suggest(str(name), studio.DEFAULTS)}")
    return settings


def suggest(name: str, names: Mapping[str, object]) -> str:
    """Return a sentence with the nearest of `names`, or with all of them."""
    matches = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {matches[0]}?" if matches else f"The names are: {', '.join(names)}."


def validate(values: Mapping[str, Any], source: str = "") -> StudioSettings:
    """Return the settings for values from `source`.

    Raises:
        UsageError: a value is invalid; the message names it.
    """
    try:
        return StudioSettings.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError("\n".join(f"{source}: {line}" if source else line for line in _explain(error))) from error


def make_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, made from the model."""
    model = StudioSettings.model_json_schema()
    properties = {}
    for variable, description in DESCRIPTIONS.items():
        name = variable.removeprefix(PREFIX)
        keywords = {key: value for key, value in model["properties"][name].items() if key != "title"}
        properties[variable] = {"description": description, **keywords}
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


def render_schema() -> str:
    """Return the text of `inventory/schema.json`."""
    return json.dumps(make_schema(), indent=2) + "\n"


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        parts = [str(part) for part in problem["loc"]]
        variables = set(StudioSettings.model_fields) - set(ROLE_SETTINGS)
        name = ".".join([PREFIX + parts[0] if parts[0] in variables else parts[0], *parts[1:]]) if parts else ""
        message = problem["msg"].removeprefix("Value error, ")
        invalid = "" if problem["type"] in ("missing", "value_error") else f" (not {problem['input']!r})"
        yield ": ".join(part for part in (name, f"{message}{invalid}") if part)


def _is_template(value: object) -> bool:
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def _wrap_comment(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > 100:
            lines.append("")
        lines[-1] += f" {word}"
    return [f"#{line}" for line in lines]


if __name__ == "__main__":
    SCHEMA_PATH.write_text(render_schema(), encoding="utf-8")
