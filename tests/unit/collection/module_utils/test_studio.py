# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the studio's accounts, shares, services and constants, and that no role repeats one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.noslop.studio.plugins.module_utils import studio

COLLECTION = Path(__file__).parents[4] / "collections/ansible_collections/noslop/studio"
ROLES = COLLECTION / "roles"


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


def test_ports_follow_their_variables() -> None:
    def ports(variables: dict[str, object]) -> dict[str, int]:
        return {service.name: service.port for service in studio.services(variables)}

    assert ports({}) == {"comfyui": 8188, "ollama": 11434, "backend": 8765}
    assert ports({"studio_backend_port": 8790, "ollama_port": "11435", "comfyui_port": None}) == {
        "comfyui": 8188,
        "ollama": 11435,
        "backend": 8790,
    }


@pytest.mark.parametrize("port", [0, 65536, -1, "http", 80.5, True, "²", [8765]])
def test_invalid_port_is_refused_with_its_variable(port: object) -> None:
    with pytest.raises(ValueError, match=r"studio_backend_port: .* is no port"):
        studio.services({"studio_backend_port": port})


def test_each_service_has_an_account_and_the_unit_that_its_role_writes() -> None:
    role_of = {"comfyui": "comfyui", "ollama": "ollama", "backend": "studio_backend"}
    assert set(studio.SERVICES) == set(role_of)
    for service in studio.SERVICES.values():
        assert service.account in studio.ACCOUNTS
        assert (ROLES / role_of[service.name] / "templates" / f"{service.unit}.j2").is_file()


def test_default_of_an_undeclared_variable_is_refused() -> None:
    assert studio.default_of("comfyui_port") == 8188
    assert studio.default_of("noslop_firewall_enabled") is True
    with pytest.raises(ValueError, match="no variable is called noslop_gate; there are noslop_studio_id, "):
        studio.default_of("noslop_gate")


@pytest.mark.parametrize(
    "constant",
    [
        *(str(value) for value in studio.CONSTANTS.values()),
        *(str(account.number) for account in studio.ACCOUNTS.values()),
        *(str(value) for service in studio.SERVICES.values() for value in (service.port, service.unit)),
        *(studio.STORAGE_ROOT, str(studio.READ_AHEAD_KB), studio.SETTINGS_DIR),
    ],
)
def test_roles_and_playbooks_write_no_constant_of_the_studio(constant: str) -> None:
    """Pass over comments, names of files and the documented defaults of argument specs."""
    word = re.compile(rf"(?<![\w/.-]){re.escape(constant)}(?![\w.-])")
    places = [
        f"{path.relative_to(COLLECTION)}: {line.strip()}"
        for folder in ("roles", "playbooks")
        for path in sorted((COLLECTION / folder).rglob("*"))
        if path.suffix in (".yml", ".j2") and path.parent.name != "meta"
        for line in path.read_text("utf-8").splitlines()
        if not line.lstrip().startswith("#") and word.search(line)
    ]
    assert places == []
