# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noslop_driver.choices import SERVICES
from noslop_driver.errors import UsageError
from noslop_driver.settings.flag_values import PATH_FLAGS, parse_roles


@given(st.dictionaries(st.sampled_from(["one", "two"]), st.sets(st.sampled_from(SERVICES))))
def test_role_flags_are_parsed(roles: dict[str, set[str]]) -> None:
    words = [f"{host}={','.join(sorted(own_services)) or 'none'}" for host, own_services in roles.items()]
    assert {host: set(own_services) for host, own_services in parse_roles(words).items()} == roles


@pytest.mark.parametrize("word", ["worker1", "=ollama", "worker1=olama", "worker1=ollama,nfs"])
def test_invalid_role_flags_are_usage_errors(word: str) -> None:
    with pytest.raises(UsageError, match="HOST=SERVICE"):
        parse_roles([word])


def test_each_path_has_a_flag() -> None:
    assert PATH_FLAGS["comfyui_custom_nodes_dir"] == "--comfyui-custom-nodes-dir"
    assert len(PATH_FLAGS) == 5
