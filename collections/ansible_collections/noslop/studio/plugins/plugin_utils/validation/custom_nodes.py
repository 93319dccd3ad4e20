# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the studio's list of custom nodes, ``noslop_custom_nodes``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.entry_values import (
    describe_entry,
    find_address_problem,
    parse_flag,
    parse_names,
    require_declared_keys,
)
from ansible_collections.noslop.studio.plugins.module_utils.install import node_store

VARIABLE = "noslop_custom_nodes"
#: The ends of the archives that are unpacked.
ARCHIVES = (".tar.gz", ".tgz", ".zip")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEYS = ("name", "repo", "commit", "archive", "sha256", "hosts", "allow_install_script", "allow_source")
#: Names that ComfyUI treats in a special way.
_RESERVED_NAMES = ("__pycache__",)
_RESERVED_SUFFIX = ".disabled"


@dataclass(frozen=True)
class CustomNode:
    """One custom node of a studio.

    Either ``repo`` and ``commit`` or ``archive`` and ``sha256`` are set, and the others are empty. ``hosts`` are names
    of the inventory; ``None`` stands for every host that runs ComfyUI.
    """

    name: str
    repo: str = ""
    commit: str = ""
    archive: str = ""
    sha256: str = ""
    hosts: tuple[str, ...] | None = None
    allow_install_script: bool = False
    allow_source: tuple[str, ...] = ()

    @property
    def revision(self) -> str:
        """Return the name of its directory on the share, 40 hexadecimal digits."""
        return node_store.make_revision(self.commit, self.sha256)

    def is_for(self, host: str) -> bool:
        """Return whether ``host`` runs this node."""
        return self.hosts is None or host in self.hosts


def parse_custom_nodes(value: object) -> list[CustomNode]:
    """Parse the value of ``noslop_custom_nodes``, and return the nodes in its order.

    Raises:
        ValueError: it is no list of nodes, an entry is unusable, or two nodes have one name. The message names the
            entry and what to write.
    """
    if not isinstance(value, list | tuple):
        raise ValueError(f"{VARIABLE}: {value!r} is no list. Write one entry with name, repo and commit for each node.")
    nodes = [_parse(entry, number) for number, entry in enumerate(value, start=1)]
    names: dict[str, str] = {}
    for node in nodes:
        # Two hosts could see one of them only, where the share's file system ignores case.
        other = names.setdefault(node.name.lower(), node.name)
        if sum(one.name.lower() == node.name.lower() for one in nodes) > 1:
            raise ValueError(f"{VARIABLE}: two entries are called {other}. Give each node a name of its own.")
    return nodes


def find_unknown_hosts(nodes: Iterable[CustomNode], comfyui_hosts: Iterable[str]) -> list[str]:
    """Return a sentence for each host of a node that does not run ComfyUI."""
    known_hosts = set(comfyui_hosts)
    return [
        f"{VARIABLE}: {node.name} is for {host}, which is not in the group comfyui. Correct its hosts."
        for node in nodes
        for host in node.hosts or ()
        if host not in known_hosts
    ]


def _parse(entry: object, number: int) -> CustomNode:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{VARIABLE}: entry {number} is {entry!r}. Write name, repo and commit, each with its value.")
    name = str(entry.get("name") or "")
    where = describe_entry(VARIABLE, number, name)
    require_declared_keys(entry, _KEYS, where, "node")
    if not _NAME.fullmatch(name) or name in _RESERVED_NAMES or name.endswith(_RESERVED_SUFFIX):
        raise ValueError(
            f"{where}: {name!r} is no name of a directory that ComfyUI loads. Write letters, digits and . _ + -, like "
            "ComfyUI-Impact-Pack."
        )
    return CustomNode(
        name=name,
        **_parse_source(entry, where),
        hosts=None if entry.get("hosts") is None else parse_names(entry["hosts"], f"{where}: hosts"),
        allow_install_script=parse_flag(entry.get("allow_install_script", False), f"{where}: allow_install_script"),
        allow_source=_parse_packages(entry.get("allow_source") or [], f"{where}: allow_source"),
    )


def _parse_source(entry: Mapping[str, Any], where: str) -> dict[str, str]:
    """Return the source of a node with its checksum, under the names of :class:`CustomNode`."""
    repo, archive = str(entry.get("repo") or ""), str(entry.get("archive") or "")
    if bool(repo) == bool(archive):
        raise ValueError(f"{where}: write either repo and commit, or archive and sha256.")
    kind, checksum, pattern = ("repo", "commit", _COMMIT) if repo else ("archive", "sha256", _SHA256)
    other_checksum = "sha256" if repo else "commit"
    if entry.get(other_checksum):
        raise ValueError(f"{where}: {other_checksum} belongs to {'archive' if repo else 'repo'}. Write {checksum}.")
    problem = _find_source_problem(repo or archive)
    if problem:
        raise ValueError(f"{where}: {kind} {problem}")
    if archive and not archive.endswith(ARCHIVES):
        raise ValueError(f"{where}: archive {archive} is none that is unpacked. It ends in {', '.join(ARCHIVES)}.")
    digits = str(entry.get(checksum) or "")
    if not pattern.fullmatch(digits):
        length = 40 if repo else 64
        raise ValueError(
            f"{where}: {checksum} is {digits!r}. Write all {length} hexadecimal digits, in small letters and in "
            f"quotes: a {'branch or a tag' if repo else 'file'} can be another one tomorrow."
        )
    return {kind: repo or archive, checksum: digits}


def _find_source_problem(source: str) -> str:
    if source.startswith("/") and not re.search(r"[\s\x00-\x1f\x7f]", source):
        return ""
    problem = find_address_problem(source)
    return f"{problem[:-1]}, or a path on the storage server." if problem.endswith("https://.") else problem


def _parse_packages(value: object, where: str) -> tuple[str, ...]:
    names = parse_names(value, where)
    for name in names:
        if not _PACKAGE.fullmatch(name):
            raise ValueError(f"{where}: {name!r} is no name of a Python package. Write it without a version.")
    return names
