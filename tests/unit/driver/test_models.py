# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that models reject invalid values with a message, and can be written as JSON and read back."""

from __future__ import annotations

import pytest
from ansible_collections.noslop.studio.plugins.module_utils import studio
from pydantic import ValidationError

from noslop_driver.models import Candidate, Disk, Gpu, Host, Plan, Problem, Proposal, StudioSettings

SETTINGS = StudioSettings(studio_id="test")


def test_defaults_are_those_of_the_collection() -> None:
    variables = SETTINGS.variables()
    assert {name: variables[name] for name in studio.DEFAULTS if name != "noslop_studio_id"} == {
        name: value for name, value in studio.DEFAULTS.items() if name != "noslop_studio_id"
    }
    assert SETTINGS.shares() == studio.shares({})


def test_directory_setting_moves_one_share() -> None:
    moved = SETTINGS.replace(storage_root="/data/noslop", media_cache_dir="/fast/cache")
    paths = {share.name: share.path for share in moved.shares()}
    assert paths["media_cache"] == "/fast/cache"
    assert paths["projects"] == "/data/noslop/projects"
    assert moved.variables()["noslop_media_cache_dir"] == "/fast/cache"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"studio_id": ""}, "studio_id"),
        ({"storage_root": "data"}, "noslop_storage_root: 'data' is not an absolute path"),
        ({"media_cache_dir": "/mnt/noslop/projects"}, "the path of another share too"),
        ({"storage_provider": "ceph"}, "'nfs', 'local' or 'existing'"),
        ({"min_free_gb": -1}, "greater than or equal to 0"),
        ({"uid": 0}, "greater than or equal to 1"),
        ({"nodes_id": 2601}, "noslop-models and noslop-nodes have the same uid 2601"),
        ({"gid": 2605}, "noslop and noslop-backend have the same gid 2605"),
        ({"models_writers": "everybody"}, "'server' or 'members'"),
        ({"comfyui_version": "master"}, "'master' is no version of ComfyUI. Write a release, like 0.33.0"),
        ({"ollama_version": "latest"}, "'latest' is no version of Ollama"),
        ({"allowed_networks": ["everyone"]}, "'everyone' is no address and no network"),
        ({"roles": {"render1": ["nfs"]}}, "'ollama', 'comfyui' or 'backend'"),
        ({"storage_rot": "/data"}, "Extra inputs are not permitted"),
    ],
)
def test_invalid_settings_are_rejected(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        SETTINGS.replace(**changes)
    assert message in str(refused.value)


def test_allowed_networks_are_normalized() -> None:
    settings = SETTINGS.replace(allowed_networks=["192.168.1.7/24", "10.0.0.5", "10.0.0.6/32", "fd00:0::/64"])
    assert settings.allowed_networks == ["192.168.1.0/24", "10.0.0.5", "10.0.0.6", "fd00::/64"]


def test_versions_are_those_that_roles_install() -> None:
    settings = SETTINGS.replace(comfyui_version="0.33.0", ollama_version="v0.32.7")
    assert (settings.comfyui_version, settings.ollama_version) == ("v0.33.0", "0.32.7")


def test_replace_returns_new_settings() -> None:
    assert SETTINGS.replace(server="render1").server == "render1"
    assert SETTINGS.server is None
    with pytest.raises(ValidationError, match="frozen"):
        SETTINGS.server = "render1"  # type: ignore[misc] # the assignment under test


def test_gpu_memory_counts_usable_cards_only() -> None:
    cards = [
        Gpu(vendor="nvidia", name="one", memory_mib=1000, usable=True),
        Gpu(vendor="nvidia", name="two", memory_mib=None, usable=True),
        Gpu(vendor="amd", name="three", memory_mib=4000, usable=False, why="no driver"),
    ]
    assert Host(name="a", address="10.0.0.1", user="artist", gpus=cards).gpu_memory_mib == 1000


def test_plan_round_trips_through_json() -> None:
    host = Host(
        name="render1",
        address="10.0.0.1",
        user="artist",
        gpus=[Gpu(vendor="nvidia", name="one", usable=True)],
        disks=[Disk(mount="/", size_bytes=2, free_bytes=1, fstype="ext4")],
    )
    note = Problem(what="seen", todo="do", fatal=False)
    proposal = Proposal(host="render1", score=70, roles=["storage_server", "ollama"], reasons=["it is the only host"])
    plan = Plan(hosts=[host], proposals=[proposal], server="render1", settings=SETTINGS, problems=[note])
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert "wishes" in plan.model_dump(), "the key of records and `--json`"
    assert not plan.blocked
    assert plan.members("ollama") == [host]
    assert plan.members("backend") == []
    assert plan.model_copy(update={"problems": [Problem(what="seen", todo="do")]}).blocked


def test_candidate_rejects_unknown_status_and_invalid_port() -> None:
    with pytest.raises(ValidationError):
        Candidate.model_validate({"address": "10.0.0.1", "status": "maybe"})
    with pytest.raises(ValidationError):
        Candidate.model_validate({"address": "10.0.0.1", "status": "open", "port": 70000})
