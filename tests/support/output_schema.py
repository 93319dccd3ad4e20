# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what the driver prints with `--json` with the schema that is published for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema

from noslop_driver.cli.flags import COMMANDS

PATH = Path(__file__).parents[2] / "noslop_driver/commands/output_schema.json"
SCHEMA: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
#: Commands that have subcommands.
GROUPS = [command.name for command in COMMANDS if command.subcommands]


def check_output(words: Sequence[str], output: dict[str, Any]) -> None:
    """Raise an error where the output is not the one that the schema has for the command of these words."""
    name, *rest = " ".join(words).split()
    command = f"{name}-{rest[0]}" if name in GROUPS else name
    jsonschema.validate(output, {**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{command}"}]})


def check_progress(line: dict[str, Any]) -> None:
    """Raise an error where a line of `--json-lines` is not what the schema says."""
    jsonschema.validate(line, {**SCHEMA, "anyOf": [{"$ref": "#/$defs/progress"}]})
