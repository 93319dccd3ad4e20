# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that verification expects what the storage roles do, with their defaults and with tuned variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLES = Path(__file__).parents[4] / "collections/ansible_collections/noslop/studio/roles"
#: The variable of verification to the variable of the role that it follows.
FOLLOWED = {
    "studio_verify_read_ahead_kb": "nfs_client_read_ahead_kb",
    "studio_verify_mount_options": "nfs_client_options",
    "studio_verify_models_options": "nfs_client_models_options",
    "studio_verify_quiet_units": "nfs_client_quiet_units",
    "studio_verify_server_threads": "nfs_server_threads",
}
CLIENTS = ["10.0.0.2", "10.0.0.3", "10.0.0.4"]


def read_defaults(role: str) -> dict[str, Any]:
    variables: dict[str, Any] = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text(encoding="utf-8"))
    return {name: trust_as_template(value) if isinstance(value, str) else value for name, value in variables.items()}


def evaluate(name: str, *variables: dict[str, Any]) -> object:
    merged = {key: value for one in variables for key, value in one.items()}
    return Templar(loader=DataLoader(), variables=merged).template(merged[name])


@pytest.mark.parametrize(("own", "followed"), FOLLOWED.items())
def test_default_is_the_roles_own(own: str, followed: str) -> None:
    role = followed.rpartition("_client")[0] + "_client" if "_client" in followed else "nfs_server"
    wanted = evaluate(followed, read_defaults(role), {"nfs_server_clients": CLIENTS})

    assert evaluate(own, read_defaults("studio_verify"), {"studio_verify_clients": CLIENTS}) == wanted


@pytest.mark.parametrize(
    ("own", "tuned"),
    [
        ("studio_verify_read_ahead_kb", 4096),
        ("studio_verify_mount_options", "vers=4.1,nosuid,nodev"),
        ("studio_verify_models_options", "acdirmin=2,acdirmax=5"),
        ("studio_verify_quiet_units", []),
        ("studio_verify_server_threads", 8),
    ],
)
def test_tuned_variable_of_a_role_is_expected(own: str, tuned: object) -> None:
    assert evaluate(own, read_defaults("studio_verify"), {FOLLOWED[own]: tuned}) == tuned


def test_server_follows_the_servers_helper_units() -> None:
    tuned = {"studio_verify_server": True, "nfs_server_quiet_units": [], "nfs_client_quiet_units": ["rpcbind.socket"]}

    assert evaluate("studio_verify_quiet_units", read_defaults("studio_verify"), tuned) == []
