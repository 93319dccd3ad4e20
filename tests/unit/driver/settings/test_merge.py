# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noslop_driver.errors import UsageError
from noslop_driver.models import Wishes
from noslop_driver.output.terminal import Terminal
from noslop_driver.settings.merge import PATH_FLAGS, SERVICES, Sources, collect, own_address, parse_roles, read_file

NOBODY = Terminal(no_input=True)

SOME = st.fixed_dictionaries(
    {},
    optional={
        "storage_root": st.sampled_from(["/a", "/b", "/c"]),
        "min_free_gb": st.integers(0, 3),
        "storage_provider": st.sampled_from(["nfs", "local", "existing"]),
        "users": st.lists(st.sampled_from(["ann", "bob"])),
        "firewall_enabled": st.booleans(),
    },
)


@given(SOME, SOME, SOME, SOME)
def test_flags_win_over_the_file_over_the_previous_over_defaults(
    flags: dict[str, object], file: dict[str, object], previous: dict[str, object], defaults: dict[str, object]
) -> None:
    made = collect(Sources(flags=flags, file=file, previous=previous, defaults=defaults), NOBODY)
    expected = {**defaults, **previous, **file, **flags}
    for name, value in expected.items():
        assert getattr(made, name) == value
    plain = Wishes(studio_id="x")
    for name in set(plain.model_dump()) - set(expected) - {"studio_id"}:
        assert getattr(made, name) == getattr(plain, name)


def test_a_new_studio_has_an_id_of_its_own_and_an_old_one_keeps_it() -> None:
    assert collect(Sources(), NOBODY).studio_id != collect(Sources(), NOBODY).studio_id
    assert collect(Sources(previous={"studio_id": "abc"}), NOBODY).studio_id == "abc"


def test_a_flag_that_contradicts_an_edited_file_is_an_error_that_names_the_line() -> None:
    edited = Path("inventories/x/group_vars/all/studio.yml")
    previous = {"studio_id": "abc", "min_free_gb": 10}
    same = Sources(flags={"min_free_gb": 10}, previous=previous, edited=edited)
    assert collect(same, NOBODY).min_free_gb == 10
    with pytest.raises(UsageError) as error:
        collect(Sources(flags={"min_free_gb": 20}, previous=previous, edited=edited), NOBODY)
    for part in (str(edited), "noslop_min_free_gb: 10", "'noslop_min_free_gb: 20'"):
        assert part in str(error.value)
    with pytest.raises(UsageError, match="noslop_users"):
        collect(Sources(file={"users": ["ann"]}, previous=previous, edited=edited), NOBODY)
    chosen = Sources(flags={"server": "big", "roles": {"big": []}}, previous=previous, edited=edited)
    assert collect(chosen, NOBODY).server == "big", "who does what stands in hosts.yml"


@given(st.dictionaries(st.sampled_from(["one", "two"]), st.sets(st.sampled_from(SERVICES))))
def test_roles_are_read_as_they_are_written(roles: dict[str, set[str]]) -> None:
    words = [f"{host}={','.join(sorted(own)) or 'none'}" for host, own in roles.items()]
    assert {host: set(own) for host, own in parse_roles(words).items()} == roles


@pytest.mark.parametrize("word", ["worker1", "=ollama", "worker1=olama", "worker1=ollama,nfs"])
def test_roles_that_make_no_sense(word: str) -> None:
    with pytest.raises(UsageError, match="HOST=SERVICE"):
        parse_roles([word])


def test_a_wishes_file_has_the_names_of_studio_yml_and_who_does_what(tmp_path: Path) -> None:
    path = tmp_path / "wishes.yml"
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


def test_every_path_has_its_flag() -> None:
    assert PATH_FLAGS["comfyui_custom_nodes_dir"] == "--comfyui-custom-nodes-dir"
    assert len(PATH_FLAGS) == 5


def test_own_address_is_the_one_that_the_other_side_sees() -> None:
    assert own_address("127.0.0.2") == "127.0.0.1"
    assert own_address("::1") in ("::1", None)


def test_nobody_is_asked_without_a_terminal_and_the_error_names_the_flag() -> None:
    with pytest.raises(UsageError, match="--storage-root"):
        Terminal().ask("Where", flag="--storage-root")
    with pytest.raises(UsageError, match=r"--no-input was given.*--yes"):
        Terminal(no_input=True).confirm("Go on?")
    assert Terminal(yes=True).confirm("Go on?")
