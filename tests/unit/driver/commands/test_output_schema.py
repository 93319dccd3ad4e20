# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that the published schema is that of every command; `run_json` compares the output of other tests with it."""

from __future__ import annotations

import jsonschema
import pytest

from noslop_driver.cli.flags import COMMANDS
from noslop_driver.commands import output_schema
from tests.support.output_schema import SCHEMA


def test_schema_is_what_the_types_say() -> None:
    text = output_schema.PATH.read_text(encoding="utf-8")
    assert text == output_schema.render_schema(), "write it anew: python -m noslop_driver.commands.output_schema"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_command_with_json_has_a_schema() -> None:
    commands = [
        "-".join(filter(None, (command.name, one.name if one is not command else "")))
        for command in COMMANDS
        for one in (command.subcommands or (command,))
        if any("--json" in flag.opts for flag in one.flags)
    ]
    assert sorted(commands) == sorted(output_schema.RESULTS)


@pytest.mark.parametrize(
    "output",
    [
        {"command": "status", "ok": True, "exit_code": 0},
        {"command": "status", "ok": True, "exit_code": 0, "error": None, "films": []},
        {"command": "status", "ok": True, "exit_code": 0, "error": None, "inventory": "x"},
    ],
)
def test_output_with_other_keys_is_refused(output: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(output, SCHEMA)
