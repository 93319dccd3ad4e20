# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define what a step of a move is asked for: the parameters of the module ``noslop.studio.storage_move``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.storage_move import places, record
from ansible_collections.noslop.studio.plugins.module_utils.storage_move.places import Share


@dataclass(frozen=True)
class Request:
    """The parameters of the module."""

    part: str
    shares: list[Share]
    studio_id: str
    peer: str
    stamp: str
    needs: Mapping[str, places.Need]
    reserve_bytes: float
    root: str
    require_own_file_system: bool
    address: str
    port: int
    clients: list[str]
    certificate: str
    final: bool
    listings: Mapping[str, Mapping[str, str]]
    run_directory: str
    state_directory: str
    record_file: str
    rsync: str

    @classmethod
    def parse(cls, params: Mapping[str, Any], program: str) -> Request:
        """Return the request of the module's parameters; ``program`` is the path of rsync, empty without it."""
        return cls(
            part=params["part"],
            shares=[Share(one["name"], one["path"]) for one in params["shares"]],
            studio_id=params["studio_id"],
            peer=params["peer"],
            stamp=params["stamp"],
            needs={one["name"]: places.Need(one["size"], one["inodes"]) for one in params["needs"]},
            reserve_bytes=params["min_free_gb"] * 1e9,
            root=params["root"],
            require_own_file_system=params["require_own_file_system"],
            address=params["address"],
            port=params["port"],
            clients=params["clients"],
            certificate=params["certificate"],
            final=params["final"],
            listings={one["name"]: one for one in params["listings"]},
            run_directory=params["run_directory"],
            state_directory=params["state_directory"],
            record_file=params["record_file"],
            rsync=program,
        )

    @property
    def is_source(self) -> bool:
        """Return whether this is the old server."""
        return self.part == record.SOURCE

    @property
    def server_directory(self) -> str:
        """Return the directory with the lock of the server."""
        return os.path.join(self.run_directory, "server")

    def run_path(self, name: str) -> str:
        """Return the path of a file in memory."""
        return os.path.join(self.run_directory, name)

    def tree(self, share: Share) -> str:
        """Return the directory with the files of a share on this host."""
        return share.path if self.is_source else share.staging

    def list_path(self, share: Share) -> str:
        """Return the path of the list of a share."""
        return os.path.join(self.state_directory, f"{share.name}.list")

    def peer_list_path(self, share: Share) -> str:
        """Return the path of the other host's list of a share."""
        return os.path.join(self.state_directory, "peer", f"{share.name}.list")
