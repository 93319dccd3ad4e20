# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test what one reading of a host has: its services, its shares, and what hangs or lacks."""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.share import markers
from ansible_collections.noslop.studio.plugins.module_utils.status import host_status
from ansible_collections.noslop.studio.plugins.module_utils.status.host_status import Request

from tests.support.service_standin import QUEUE, standing_in


def read(**values: object) -> dict[str, Any]:
    blank = {"services": [], "shares": [], "studio_id": "abc", "server_address": "", "bound_s": 5}
    request = Request(**{**blank, **values})  # type: ignore[arg-type]  # values of any type
    return host_status.read(request)


def make_share(path: Path, name: str, studio_id: str = "abc") -> dict[str, str]:
    path.mkdir()
    path.chmod(0o755)
    (path / ".noslop-share").write_text(markers.compose(studio_id, name))
    return {"name": name, "path": str(path), "owner": getpass.getuser()}


def rooms(state: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {room["name"]: room for room in state["room"]}


def test_room_of_the_root_and_of_each_share_is_measured(tmp_path: Path) -> None:
    share = make_share(tmp_path / "projects", "projects")
    measured = rooms(read(shares=[share]))
    assert list(measured) == ["/", "projects"]
    size = os.statvfs("/")
    assert measured["/"]["size"] == size.f_blocks * size.f_frsize
    assert 0 < measured["projects"]["free"] <= measured["projects"]["size"]


def test_directory_beneath_a_share_that_is_not_mounted_has_no_room(tmp_path: Path) -> None:
    missing = {"name": "projects", "path": str(tmp_path), "owner": getpass.getuser()}
    other = make_share(tmp_path / "media", "media_cache", "other")
    measured = rooms(read(shares=[missing, other]))
    assert measured["projects"]["free"] is None
    assert measured["projects"]["problem"].startswith("not mounted, or no share: ")
    assert "belongs to the studio 'other'" in measured["media_cache"]["problem"]


def test_share_of_an_account_that_is_missing_here_is_not_entered(tmp_path: Path) -> None:
    share = {**make_share(tmp_path / "projects", "projects"), "owner": "noslop-no-such-account"}
    (tmp_path / "projects").chmod(0o700)
    measured = rooms(read(shares=[share]))
    assert measured["projects"]["free"] is None or os.geteuid() != 0


def test_share_is_not_touched_while_its_server_is_away(tmp_path: Path) -> None:
    share = make_share(tmp_path / "projects", "projects")
    measured = rooms(read(shares=[share], server_address="127.9.9.9"))
    assert measured["projects"]["problem"].startswith("the storage server does not answer: ")
    assert measured["/"]["free"]


def test_service_that_hangs_delays_no_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, standing_in({"/queue": QUEUE}) as comfyui:
        state = read(
            services=[
                {"name": "ollama", "address": "127.0.0.1", "port": silent.getsockname()[1]},
                {"name": "comfyui", "address": "127.0.0.1", "port": comfyui.server_port},
            ],
            bound_s=2.0,
        )
    ollama, working = state["services"]
    assert (ollama["service"], ollama["problem"]) == ("ollama", "no answer within 2 s")
    assert (working["running"], working["waiting"], working["problem"]) == (1, 2, "")
