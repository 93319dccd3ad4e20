# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the shares that a studio has beyond its own five, ``noslop_extra_shares``. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.entry_values import (
    describe_entry,
    parse_names,
    require_declared_keys,
)

VARIABLE = "noslop_extra_shares"
WRITERS = ("members", "server")
_KEYS = ("name", "path", "writers", "clients", "read_only", "options")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_OPTION = re.compile(r"([a-z_0-9]+)(=[A-Za-z0-9_.:-]+)?")
#: Mount options that other settings decide, or that can lose data (nfs(5)), with what to do instead.
_REFUSED = {
    **dict.fromkeys(("soft", "softerr", "async"), "it can lose what programs wrote"),
    **dict.fromkeys(("ro", "rw"), "write writers: server, or read_only with the hosts"),
    **dict.fromkeys(("vers", "nfsvers", "remount", "bind", "sec", "xprtsec"), "it is the same for all shares"),
    **dict.fromkeys(("suid", "dev", "exec"), "files of a share that others write must not do that"),
}


@dataclass(frozen=True)
class ExtraShare:
    """A share that a person added. ``clients`` are the hosts that mount it, ``None`` for all of them."""

    name: str
    path: str = ""
    writers: str = "members"
    clients: tuple[str, ...] | None = None
    read_only: tuple[str, ...] = ()
    options: str = ""


def parse(value: object, taken: Collection[str] = ()) -> list[ExtraShare]:
    """Parse the value of the variable, and return the shares in its order.

    Args:
        value: the list.
        taken: names that other shares of the studio have.

    Raises:
        ValueError: it is no list of shares, or one is unusable. The message names the entry and what to write.
    """
    if value in (None, ""):
        return []
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{VARIABLE}: {value!r} is no list. Write one entry with a name for each share.")
    shares: list[ExtraShare] = []
    for number, entry in enumerate(value, start=1):
        share = _parse(entry, number)
        if share.name in taken or any(share.name == other.name for other in shares):
            raise ValueError(f"{VARIABLE}: another share is called {share.name} too. Give this one a name of its own.")
        shares.append(share)
    return shares


def find_unknown_hosts(shares: Iterable[ExtraShare], clients: Iterable[str]) -> list[str]:
    """Return a sentence for each share that names hosts which mount no share."""
    known = set(clients)
    unknown = {share.name: sorted({*(share.clients or ()), *share.read_only} - known) for share in shares}
    return [f"{VARIABLE}: {name} names {', '.join(hosts)}, no client." for name, hosts in unknown.items() if hosts]


def _parse(entry: object, number: int) -> ExtraShare:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{VARIABLE}: entry {number} is {entry!r}. Write it like {{name: reference}}.")
    name = str(entry.get("name") or "")
    where = describe_entry(VARIABLE, number, name)
    require_declared_keys(entry, _KEYS, where, "share")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{where}: name is {name!r}. Write small letters, digits and _, a letter first, at most 31.")
    writers = entry.get("writers") or "members"
    if writers not in WRITERS:
        raise ValueError(f"{where}: writers is {writers!r}. Write members, every host, or server, the server only.")
    clients = entry.get("clients")
    return ExtraShare(
        name=name,
        path=str(entry.get("path") or ""),
        writers=str(writers),
        clients=None if clients is None else parse_names(clients, f"{where}: clients"),
        read_only=parse_names(entry.get("read_only") or (), f"{where}: read_only"),
        options=_parse_options(entry.get("options") or "", f"{where}: options"),
    )


def _parse_options(value: object, where: str) -> str:
    for word in str(value).split(",") if value else ():
        match = _OPTION.fullmatch(word)
        if match is None:
            raise ValueError(f"{where} is {value!r}. Write options of nfs(5) with commas and without spaces.")
        if match[1] in _REFUSED:
            raise ValueError(f"{where} has {word}: {_REFUSED[match[1]]}. Leave it out.")
    return str(value)
