# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which shares Windows and macOS see, and whose machines may connect."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.module_utils.smb import smb_shares


def writable(value: object) -> dict[str, bool]:
    return {share.name: share.writable for share in smb_shares.list_shares({"noslop_smb_models_writable": value})}


@pytest.mark.parametrize("value", [None, "", False, "false", "no", 0])
def test_models_are_read_only_and_custom_nodes_are_not_there(value: object) -> None:
    shares = {"ollama_models": False, "comfyui_models": False, "projects": True, "media_cache": True}
    assert writable(value) == shares


@pytest.mark.parametrize("value", [True, "true", "yes", 1])
def test_models_of_comfyui_are_writable_by_choice(value: object) -> None:
    assert writable(value)["comfyui_models"]
    assert not writable(value)["ollama_models"]
    assert "comfyui_custom_nodes" not in writable(value)


def test_each_share_has_its_own_account_and_path() -> None:
    shares = {one.name: one for one in smb_shares.list_shares({"noslop_project_storage_dir": "/data/projects"})}
    assert (shares["projects"].path, shares["projects"].owner) == ("/data/projects", "noslop")
    assert shares["comfyui_models"].owner == "noslop-models"


def test_networks_are_the_own_ones_or_else_the_allowed() -> None:
    allowed = {"noslop_allowed_networks": ["10.0.0.0/24"]}
    assert smb_shares.list_networks(allowed) == ["10.0.0.0/24"]
    assert smb_shares.list_networks({**allowed, "noslop_smb_networks": ["10.1.0.0/24"]}) == ["10.1.0.0/24"]
    assert smb_shares.list_networks({}) == []
