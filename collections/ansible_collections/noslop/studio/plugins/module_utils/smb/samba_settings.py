# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the configuration that Samba reads, as testparm(1) prints it, and compare it with what a studio needs. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.smb.smb_share import SmbShare

#: Section to parameter to value; names and values in small letters.
Settings = dict[str, dict[str, str]]

GLOBAL = "global"
#: What the security of the shares rests on, with the values as testparm prints them (smb.conf(5)).
_NEEDED = {
    "server min protocol": "smb3_00",
    "server signing": "required",
    "restrict anonymous": "2",
    "map to guest": "never",
    "smb ports": str(studio.SMB_PORT),
    "disable netbios": "yes",
    "wide links": "no",
    "follow symlinks": "no",
    "oplocks": "no",
    "kernel oplocks": "no",
    "smb2 leases": "no",
}
_SECTION = re.compile(r"\[([^\]]+)\]")


def parse_testparm(text: str) -> Settings:
    """Parse the output of ``testparm --suppress-prompt --verbose``."""
    settings: Settings = {}
    section = ""
    for line in map(str.strip, text.splitlines()):
        match = _SECTION.fullmatch(line)
        if match:
            section = match[1].lower()
            settings[section] = {}
        elif section and "=" in line and not line.startswith("#"):
            name, __, value = line.partition("=")
            settings[section][name.strip().lower()] = value.strip().lower()
    return settings


def find_problems(settings: Settings, shares: Sequence[SmbShare], users: Sequence[str], encryption: str) -> list[str]:
    """Return how a configuration differs from the one of this studio; empty where it does not.

    Args:
        settings: the configuration.
        shares: the shares that are offered, and no others.
        users: the names of those who may use them.
        encryption: a key of ``studio.SMB_ENCRYPTION``.
    """
    needed = {**_NEEDED, "server smb encrypt": studio.SMB_ENCRYPTION[encryption]}
    problems = _compare(GLOBAL, settings.get(GLOBAL, {}), needed)
    for share in shares:
        section = settings.get(share.name)
        if section is None:
            problems.append(f"no share {share.name}")
            continue
        own = {
            "path": share.path.lower(),
            "force user": share.owner,
            "read only": "no" if share.writable else "yes",
            "guest ok": "no",
        }
        # Without -v a section has only what differs from [global], and testparm prints no share's defaults.
        problems += _compare(share.name, {"read only": "yes", "guest ok": "no", **section}, own)
        names = sorted(section.get("valid users", "").replace(",", " ").split())
        if names != sorted(users):
            problems.append(f"[{share.name}] is for {', '.join(names) or 'everybody'}")
    others = sorted(settings.keys() - {GLOBAL, *(share.name for share in shares)})
    return problems + [f"another share {name}" for name in others]


def _compare(section: str, present: Mapping[str, str], needed: Mapping[str, str]) -> list[str]:
    return [
        f"[{section}] {name} is {present.get(name) or 'not set'}, not {value}"
        for name, value in needed.items()
        if present.get(name) != value
    ]
