# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noslop_driver.errors import UsageError
from noslop_driver.models import StudioSettings
from noslop_driver.output.terminal import Terminal
from noslop_driver.settings.merge import Sources, merge, read_file

SETTING_VALUES = st.fixed_dictionaries(
    {},
    optional={
        "storage_root": st.sampled_from(["/a", "/b", "/c"]),
        "min_free_gb": st.integers(0, 3),
        "storage_provider": st.sampled_from(["nfs", "local", "existing"]),
        "users": st.lists(st.sampled_from(["ann", "bob"])),
        "firewall_enabled": st.booleans(),
    },
)


@given(SETTING_VALUES, SETTING_VALUES, SETTING_VALUES, SETTING_VALUES)
def test_flags_override_file_then_inventory_then_defaults(
    flags: dict[str, object], file: dict[str, object], previous: dict[str, object], defaults: dict[str, object]
) -> None:
    settings = merge(Sources(flags=flags, file=file, previous=previous, defaults=defaults))
    expected = {**defaults, **previous, **file, **flags}
    for name, value in expected.items():
        assert getattr(settings, name) == value
    plain = StudioSettings(studio_id="x")
    for name in set(plain.model_dump()) - set(expected) - {"studio_id"}:
        assert getattr(settings, name) == getattr(plain, name)


def test_new_studio_gets_an_id_and_existing_one_keeps_it() -> None:
    assert merge(Sources()).studio_id != merge(Sources()).studio_id
    assert merge(Sources(previous={"studio_id": "abc"})).studio_id == "abc"


def test_flag_that_contradicts_an_edited_file_is_an_error_with_the_line() -> None:
    edited = Path("inventories/x/group_vars/all/studio.yml")
    previous = {"studio_id": "abc", "min_free_gb": 10}
    same = Sources(flags={"min_free_gb": 10}, previous=previous, edited=edited)
    assert merge(same).min_free_gb == 10
    with pytest.raises(UsageError) as error:
        merge(Sources(flags={"min_free_gb": 20}, previous=previous, edited=edited))
    for part in (str(edited), "noslop_min_free_gb: 10", "'noslop_min_free_gb: 20'"):
        assert part in str(error.value)
    with pytest.raises(UsageError, match="noslop_users"):
        merge(Sources(file={"users": ["ann"]}, previous=previous, edited=edited))
    chosen = Sources(flags={"server": "big", "roles": {"big": []}}, previous=previous, edited=edited)
    assert merge(chosen).server == "big", "roles are in hosts.yml"


def test_config_file_has_variables_of_studio_yml_and_roles(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(
        "noslop_storage_root: /srv/noslop\nserver: big\nroles:\n  big: ollama, backend\n  small: []\n  third:\n",
        encoding="utf-8",
    )
    assert read_file(path) == {
        "storage_root": "/srv/noslop",
        "server": "big",
        "roles": {"big": ["ollama", "backend"], "small": [], "third": []},
    }
    with pytest.raises(UsageError, match="cannot be read"):
        read_file(tmp_path / "nothing.yml")


def test_question_without_a_terminal_is_an_error_with_the_flag() -> None:
    with pytest.raises(UsageError, match="--storage-root"):
        Terminal().ask("Where", flag="--storage-root")
    with pytest.raises(UsageError, match=r"--no-input was given.*--yes"):
        Terminal(no_input=True).confirm("Go on?")
    assert Terminal(yes=True).confirm("Go on?")
