# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the options of a verification on a client whose storage server is away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils import studio

#: No server of NFS listens there.
AWAY = "127.0.0.77"
#: The shares that the services of a host work on.
SHARES = ("projects", "comfyui_models", "comfyui_custom_nodes", "ollama_models")


def make_client_options(share: Path) -> dict[str, Any]:
    """Return the options of a client whose shares all lie at one path."""
    return {
        "host": "worker2",
        "address": "127.0.0.2",
        "scope": ["storage", "services"],
        "shares": [{"name": name, "path": str(share), "kind": "work", "owner": "noslop"} for name in SHARES],
        "root": str(share.parent),
        "provider": "nfs",
        "server": False,
        "server_address": AWAY,
        "clients": ["127.0.0.2", "127.0.0.3"],
        "members": ["127.0.0.2", "127.0.0.3", AWAY],
        "studio_id": "studio",
        "accounts": [vars(account) for account in studio.accounts({})],
        "require_own_file_system": False,
        "min_free_gb": 0,
        "read_ahead_kb": 0,
        "mount_options": "",
        "models_options": "",
        "quiet_units": [],
        "firewall_enabled": False,
        "allowed_networks": [],
        "smb": False,
        "monitor": False,
        "model_files": [],
        "ollama_models": [],
        "peers": {},
        "run_id": "",
        "timeout": 100_000,
        **dict.fromkeys(("ollama", "comfyui", "backend"), False),
        **{f"{name}_unit": f"noslop-{name}.service" for name in ("ollama", "comfyui", "backend")},
        **{f"{name}_port": 1 for name in ("ollama", "comfyui", "backend")},
    }
