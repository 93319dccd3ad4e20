# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The studio's accounts: one number each, shares with an owner, and units that are named once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils import studio

ROLES = Path(__file__).parents[2] / "collections/ansible_collections/noslop/studio/roles"


def test_accounts_follow_their_variables() -> None:
    found = {account.name: account for account in studio.accounts({"noslop_gid": "2700", "noslop_build_id": 2800})}
    assert list(found) == list(studio.ACCOUNTS)
    assert (found["noslop"].uid, found["noslop"].gid) == (2600, 2700)
    assert (found["noslop-build"].uid, found["noslop-build"].gid) == (2800, 2800)
    assert found["noslop-backend"].groups == ("noslop",)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"noslop_uid": 2605}, "noslop_uid, noslop_backend_id: noslop and noslop-backend have the same uid 2605"),
        ({"noslop_gid": 2601}, "noslop_gid, noslop_models_id: noslop and noslop-models have the same gid 2601"),
        ({"noslop_nodes_id": 0}, "noslop_nodes_id: '0' is no number"),
        ({"noslop_nodes_id": "many"}, "noslop_nodes_id: 'many' is no number"),
        ({"noslop_nodes_id": 4294967295}, "noslop_nodes_id: '4294967295' is no number"),
    ],
)
def test_numbers_that_cannot_be_used_are_refused(variables: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        studio.accounts(variables)


def test_each_share_belongs_to_an_account_and_no_state_shares_its_number() -> None:
    owners = {share.name: share.owner for share in studio.shares({})}
    assert owners == {
        "ollama_models": "noslop-ollama",
        "comfyui_models": "noslop-models",
        "comfyui_custom_nodes": "noslop-nodes",
        "projects": "noslop",
        "media_cache": "noslop",
    }
    assert not {"noslop-comfyui", "noslop-backend", "noslop-build"} & set(owners.values())


def test_writers_are_chosen_for_models_and_for_custom_nodes() -> None:
    def read_only(variables: dict[str, str]) -> list[str]:
        return [share.name for share in studio.shares(variables) if share.writers == "server"]

    assert read_only({}) == ["comfyui_custom_nodes"]
    assert read_only({"noslop_custom_nodes_writers": "members"}) == []
    assert read_only({"noslop_models_writers": "server"}) == ["ollama_models", "comfyui_models", "comfyui_custom_nodes"]
    with pytest.raises(ValueError, match="noslop_models_writers: 'all' is neither server nor members"):
        studio.shares({"noslop_models_writers": "all"})


def test_each_service_has_the_unit_that_its_role_writes() -> None:
    written = {
        unit
        for role in ("comfyui", "ollama", "studio_backend")
        for path in (ROLES / role).rglob("*.yml")
        for unit in re.findall(r"noslop-(?:comfyui|ollama|backend)\.service", path.read_text(encoding="utf-8"))
    }
    assert set(studio.UNITS) == set(studio.PORTS)
    assert written == set(studio.UNITS.values())
