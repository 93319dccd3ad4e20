# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the shares that Windows and macOS see, and the networks that may use them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.smb.smb_share import SmbShare

MODELS_WRITABLE = "noslop_smb_models_writable"
#: Share to whether it may be written to, or the variable that decides it. Custom nodes are code that every host runs,
#: so they are not here. Of Ollama's models only Ollama knows how to write the blobs. A model of ComfyUI's can be a
#: pickle, which runs code: a studio chooses whether people may put them there.
_SHARES: dict[str, bool | str] = {
    "ollama_models": False,
    "comfyui_models": MODELS_WRITABLE,
    "projects": True,
    "media_cache": True,
}
#: Every variable that decides what :func:`list_shares` returns, and what :func:`list_networks` returns.
SHARE_VARIABLES = (*studio.SHARE_VARIABLES, MODELS_WRITABLE)
NETWORK_VARIABLES = ("noslop_smb_networks", "noslop_allowed_networks")


def list_shares(variables: Mapping[str, Any]) -> list[SmbShare]:
    """List these shares, in the order of the studio's. Raises ValueError as ``studio.shares`` does."""
    return [
        SmbShare(share.name, share.path, share.owner, _is_writable(_rule_of(share), variables))
        for share in studio.shares(variables)
        if share.name in _SHARES or share.name not in studio.PATH_VARIABLES
    ]


def list_networks(variables: Mapping[str, Any]) -> list[str]:
    """Return the networks whose machines may use the shares: the studio's own list, or else the allowed networks."""
    return next((list(variables[name]) for name in NETWORK_VARIABLES if variables.get(name)), [])


def _rule_of(share: studio.Share) -> bool | str:
    """Return the rule of a share. One beyond the studio's own is for those who may write to it over NFS."""
    return _SHARES.get(share.name, share.writers == "members")


def _is_writable(rule: bool | str, variables: Mapping[str, Any]) -> bool:
    return rule if isinstance(rule, bool) else bool(boolean(variables.get(rule) or False))
