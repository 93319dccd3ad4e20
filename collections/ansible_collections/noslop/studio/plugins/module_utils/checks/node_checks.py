# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the custom nodes of one host, and name those that were installed by other means."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import Checks, enumerate_words, shorten
from ansible_collections.noslop.studio.plugins.module_utils.host.worker_processes import Account, run_one
from ansible_collections.noslop.studio.plugins.module_utils.install import node_store, release_dir

LIST_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class HostNodes:
    """The custom nodes of one host: the failed ones of the list with the reason, and those of others on the share."""

    failed: Mapping[str, str] = field(default_factory=dict)
    others: Sequence[Mapping[str, Any]] = ()


NO_NODES = HostNodes()


def read_failed_nodes(path: str = studio.NODE_TRIAL_FILE) -> dict[str, str]:
    """Return the custom nodes that failed in their trial on this host, each with the reason (module node_trial)."""
    written = release_dir.read_stamp(*os.path.split(path)) or {}
    return dict(written.get("failed") or {})


def list_others(share: str, account: Account) -> list[dict[str, Any]]:
    """Return the custom nodes on the share that NoSlop did not install, as ``node_store.list_nodes`` describes them.

    Empty where the share does not answer, which is a result of its own.
    """
    outcome = run_one(lambda: node_store.list_nodes(share), account, LIST_TIMEOUT_S)
    return [entry for entry in outcome.value or [] if not (entry["revision"] or entry["bundled"])]


def check_nodes(checks: Checks, nodes: HostNodes, rerun_step: str) -> None:
    """Check that no custom node of the list is left out on this host. Hands over which, and the nodes of others."""
    checks.add(
        "services.comfyui_nodes",
        not nodes.failed,
        seen="; ".join(f"{name} {shorten(reason)}" for name, reason in nodes.failed.items())
        or "no custom node of the list failed",
        expected="ComfyUI imports every custom node of the list on this host",
        todo=(
            f"set another commit for {enumerate_words(nodes.failed)} in noslop_custom_nodes, or its hosts "
            f"without {checks.host}, and {rerun_step}; until then it is left out here"
        ),
        details={"left_out": dict(nodes.failed), "others": [dict(entry) for entry in nodes.others]},
    )
