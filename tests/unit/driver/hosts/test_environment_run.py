# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that a host can give a shell on this computer no variables but the studio's."""

from __future__ import annotations

import pytest

from noslop_driver.errors import DriverError
from noslop_driver.hosts.environment_run import select_variables

OWN = {
    "NOSLOP_STUDIO_ID": "abc",
    "SHARED_STORAGE_ENABLED": "true",
    "PROJECT_STORAGE_DIR": "/p",
    "OLLAMA_MODELS_DIR": "/o",
    "SHARE_ARCHIVE_DIR": "/a",
    "NOSLOP_TRASH_DAYS": "30",
}


def test_variables_of_the_studio_and_of_the_inventory_are_selected() -> None:
    environment = select_variables({"variables": {**OWN, "MINE": "x"}, "secrets": ["TOKEN"]}, ["MINE"])
    assert environment.variables == {**OWN, "MINE": "x"}
    assert (environment.secrets, environment.left_out) == (["TOKEN"], [])


@pytest.mark.parametrize(
    "name",
    ["PATH", "LD_PRELOAD", "MINE", "NOSLOP_DRIVER", "NOSLOP_STUDIO_ID;reboot", "NOSLOP_STUDIO_ID\n", "", "NOSLOP_Ä"],
)
def test_other_variables_of_a_host_are_left_out(name: str) -> None:
    environment = select_variables({"variables": {**OWN, name: "/tmp/x"}, "secrets": ["$(reboot)"]}, [])
    assert environment.variables == OWN
    assert environment.left_out == [name.strip()]
    assert environment.secrets == []


def test_value_with_control_characters_is_left_out() -> None:
    assert select_variables({"variables": {"NOSLOP_STUDIO_ID": "a\x1b[2J"}, "secrets": []}, []).left_out == [
        "NOSLOP_STUDIO_ID"
    ]


@pytest.mark.parametrize("value", [None, [], "text", {"variables": {}}, {"variables": {"A": 1}, "secrets": []}])
def test_other_answers_are_an_error(value: object) -> None:
    with pytest.raises(DriverError, match="something else"):
        select_variables(value, [])
