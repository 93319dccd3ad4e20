# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the studio's accounts: one number each, shares with an owner, and units that are named once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils import studio

REPOSITORY = Path(__file__).parents[4]
ROLES = REPOSITORY / "collections/ansible_collections/noslop/studio/roles"


def test_accounts_follow_their_variables() -> None:
    listed = {account.name: account for account in studio.accounts({"noslop_gid": "2700", "noslop_build_id": 2800})}
    assert list(listed) == list(studio.ACCOUNTS)
    assert (listed["noslop"].uid, listed["noslop"].gid) == (2600, 2700)
    assert (listed["noslop-build"].uid, listed["noslop-build"].gid) == (2800, 2800)
    assert listed["noslop-backend"].groups == ("noslop",)


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
def test_invalid_account_numbers_are_refused(variables: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        studio.accounts(variables)


def test_each_share_has_an_account_that_owns_no_service_state() -> None:
    owners = {share.name: share.owner for share in studio.shares({})}
    assert owners == {
        "ollama_models": "noslop-ollama",
        "comfyui_models": "noslop-models",
        "comfyui_custom_nodes": "noslop-nodes",
        "projects": "noslop",
        "media_cache": "noslop",
    }
    assert not {"noslop-comfyui", "noslop-backend", "noslop-build"} & set(owners.values())


def test_writers_are_set_separately_for_models_and_custom_nodes() -> None:
    def read_only(variables: dict[str, str]) -> list[str]:
        return [share.name for share in studio.shares(variables) if share.writers == "server"]

    assert read_only({}) == ["comfyui_custom_nodes"]
    assert read_only({"noslop_custom_nodes_writers": "members"}) == []
    assert read_only({"noslop_models_writers": "server"}) == ["ollama_models", "comfyui_models", "comfyui_custom_nodes"]
    with pytest.raises(ValueError, match="noslop_models_writers: 'all' is neither server nor members"):
        studio.shares({"noslop_models_writers": "all"})


def test_role_defaults_follow_the_account_variables() -> None:
    """Evaluate the roles' defaults with Ansible, with a value that is itself a template."""
    wanted = [
        "(nfs_server_accounts | selectattr('name', 'equalto', 'noslop-nodes') | first).uid",
        "studio_verify_accounts | map(attribute='uid')",
        "nfs_client_gid",
        "nfs_client_services",
        "nfs_client_shares | selectattr('writers', 'equalto', 'server') | map(attribute='name')",
    ]
    words = [str(Path(sys.executable).with_name("ansible")), "localhost", "--connection", "local", "-m", "debug"]
    for role in ("nfs_server", "nfs_client", "studio_verify"):
        words += ["-e", f"@{ROLES / role / 'defaults/main.yml'}"]
    variables = {"moved": 2690, "noslop_nodes_id": "{{ moved }}", "noslop_gid": 2700, "noslop_models_writers": "server"}
    words += ["-e", json.dumps(variables), "-a", "msg={{ [" + ", ".join(wanted) + "] }}"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_LOCALHOST_WARNING": "no"}
    environment |= {"ANSIBLE_LOAD_CALLBACK_PLUGINS": "true", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    run = subprocess.run(words, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(run.stdout.partition("=>")[2])["msg"] == [
        2690,
        [2600, 2601, 2690, 2603, 2604, 2605, 2606],
        2700,
        ["noslop-comfyui.service", "noslop-ollama.service", "noslop-backend.service"],
        ["ollama_models", "comfyui_models", "comfyui_custom_nodes"],
    ]


def test_each_service_unit_is_the_one_that_its_role_writes() -> None:
    role_of = {"comfyui": "comfyui", "ollama": "ollama", "backend": "studio_backend"}
    assert set(studio.UNITS) == set(studio.PORTS) == set(role_of)
    for service, unit in studio.UNITS.items():
        assert (ROLES / role_of[service] / "templates" / f"{unit}.j2").is_file()
