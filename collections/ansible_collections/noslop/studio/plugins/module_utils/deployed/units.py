# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the units of systemd that a deployment manages, and read their state."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.deployed import files
from ansible_collections.noslop.studio.plugins.module_utils.host import state, systemd

#: Where NoSlop and administrators have units (systemd.unit(5)).
DIRECTORIES = ("/etc/systemd/system", studio.UNITS_DIR)
HEADER = "Managed by NoSlop"
#: Properties of a unit that :mod:`comparison` judges in one direction only.
ACTIVE, RELOAD = "active", "waits for a reload of systemd"
#: Units of packages that roles start, stop or mask.
_PACKAGED = (
    *(studio.NFS_SERVER_UNIT, studio.TLSHD_UNIT, *studio.NFS_HELPER_UNITS),
    *(studio.AVAHI_UNIT, "postgresql.service"),
)
_KINDS = ("service", "socket", "timer", "mount", "automount", "path")
_PROPERTIES = (
    *("Id", "Type", "RemainAfterExit", "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload"),
    *("FragmentPath", "DropInPaths", "MainPID"),
)


def find_units(directories: Sequence[str] = DIRECTORIES) -> list[str]:
    """Return the names of the units that NoSlop wrote, or to which it wrote a drop-in, and of those of packages.

    Templates are no units.
    """
    names = set(_PACKAGED)
    for directory in directories:
        for name in _list_names(directory):
            path = os.path.join(directory, name)
            if name.endswith(".d") and os.path.isdir(path):
                drop_ins = [os.path.join(path, one) for one in _list_names(path)]
                names |= {name[: -len(".d")]} if any(map(_is_ours, drop_ins)) else set()
            elif os.path.isfile(path) and _is_ours(path):
                names.add(name)
    return sorted(name for name in names if name.rpartition(".")[2] in _KINDS and "@." not in name)


def read_units(names: Sequence[str], key: bytes) -> dict[str, dict[str, str]]:
    """Return the state of units, by name, with the checksums of their files and drop-ins."""
    text = state.run_program("systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", *names)
    blocks = [systemd.parse_properties(block) for block in text.strip().split("\n\n") if block]
    return {name: read_unit(block, key) for name, block in zip(names, blocks)}


def read_unit(properties: dict[str, str], key: bytes) -> dict[str, str]:
    """Return the state of one unit from what ``systemctl show`` printed."""
    fragment, drop_ins = properties.get("FragmentPath", ""), properties.get("DropInPaths", "").split()
    unit = {
        "loaded": properties.get("LoadState", ""),
        "enabled": properties.get("UnitFileState", ""),
        "file": _describe([fragment] if fragment else [], key),
        "drop-ins": _describe(drop_ins, key),
        RELOAD: properties.get("NeedDaemonReload", ""),
    }
    if _is_lasting(properties):
        unit[ACTIVE] = properties.get("ActiveState", "")
        program = state.read_text(f"/proc/{properties.get('MainPID', '0')}/cmdline").partition("\0")[0]
        if program.startswith("/"):  # any other text is a title that the program shows, such as its state
            unit["program"] = program
    return unit


def _is_lasting(properties: dict[str, str]) -> bool:
    """Return whether a unit stays as it is: a job ends by itself, and a share is mounted by its first use."""
    kind = properties.get("Id", "").rpartition(".")[2]
    if kind == "service":
        return properties.get("Type") != "oneshot" or properties.get("RemainAfterExit") == "yes"
    return kind != "mount"


def _describe(paths: Iterable[str], key: bytes) -> str:
    texts = []
    for path in sorted(paths):
        entry = files.read_entry(os.path.realpath(path), key)
        texts.append(" ".join([path, *(entry.get(name, "") for name in ("owner", "mode", "content"))]))
    return "; ".join(texts)


def _list_names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _is_ours(path: str) -> bool:
    return HEADER in state.read_text(path)
