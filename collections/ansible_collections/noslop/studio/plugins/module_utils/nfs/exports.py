# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse exports, of files and of the running server, and compare them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host.mountinfo import is_below, unescape_octal
from ansible_collections.noslop.studio.plugins.module_utils.nfs import transport

#: Path to client to options.
Exports = dict[str, dict[str, frozenset[str]]]

_CLIENT = re.compile(r"([^(\s]*)\(([^)]*)\)")
#: Options of exports(5) that exportfs(8) shows under another name.
_SHOWN_AS = {"mp": "mountpoint"}


def parse_exportfs(text: str) -> Exports:
    """Parse the output of ``exportfs -s``: a path, then ``client(options)``. Parses our own file of exports too.

    ``subtree_check`` is added where its opposite is not shown: exportfs(8) never shows it. So is the list of all
    clients where none is shown (``xprtsec=``, exports(5)).
    """
    exports: Exports = {}
    for line in text.splitlines():
        path, __, rest = line.strip().partition(" ")
        if not path.startswith("/"):
            continue
        for client, options in _CLIENT.findall(rest):
            words = options.split(",")
            if "no_subtree_check" not in words:
                words.append("subtree_check")
            exports.setdefault(unescape_octal(path), {})[client] = transport.normalize(words)
    return exports


def parse_exports_file(text: str) -> list[str]:
    """Return the paths in an exports file (exports(5)): quoted, escaped, and with continued lines."""
    paths = []
    for line in map(str.strip, text.replace("\\\n", " ").splitlines()):
        if line.startswith('"'):
            paths.append(unescape_octal(line[1:].partition('"')[0]))
        elif line.startswith("/"):
            paths.append(unescape_octal(line.split()[0]))
    return paths


def convert_requested(exports: Sequence[Mapping[str, Any]]) -> Exports:
    """Return the exports that a role requests, in the form of :data:`Exports`, without paths that have no clients."""
    requested: Exports = {}
    for export in exports:
        options = transport.normalize(_show(option) for option in export["options"])
        for client in export["clients"]:
            requested.setdefault(export["path"], {})[client] = options
    return requested


def _show(option: str) -> str:
    name, equals, value = option.partition("=")
    return _SHOWN_AS.get(name, name) + equals + value


def list_mount_points(exports: Exports) -> list[str]:
    """Return the mount points that exports wait for (``mp`` of exports(5)): the path itself where none is named."""
    points: dict[str, None] = {}
    for path, clients in exports.items():
        for option in sorted(option for options in clients.values() for option in options):
            name, __, point = option.partition("=")
            if name in ("mp", _SHOWN_AS["mp"]):
                points[point or path] = None
    return list(points)


def compare(wanted: Exports, shown: Exports, foreign: Iterable[str]) -> list[str]:
    """Return the differences between the server's exports and the wanted ones.

    Args:
        wanted: what should be exported; every option named must be in force, others may be.
        shown: what the server exports.
        foreign: paths that the administrator exports, which are not compared.

    Returns:
        One sentence for each difference.
    """
    sentences = []
    for path, clients in wanted.items():
        for client, options in clients.items():
            has = shown.get(path, {}).get(client)
            if has is None:
                sentences.append(f"{path} is not exported to {client}")
            elif options - has:
                sentences.append(f"{path} is exported to {client} without {', '.join(sorted(options - has))}")
        sentences += [f"{path} is exported to {client} too" for client in shown.get(path, {}) if client not in clients]
    unexpected = set(shown) - set(wanted) - set(foreign)
    return sentences + [f"{path} is still exported" for path in sorted(unexpected)]


def find_overlaps(paths: Iterable[str], foreign: Mapping[str, str]) -> list[str]:
    """Return a sentence for each export of the administrator that reaches a directory of the studio.

    Args:
        paths: the studio's directories.
        foreign: path to the file that exports it.
    """
    return [
        f"{file} exports {other}, which reaches the share {path} past the studio's rules. "
        f"Remove that line (then: exportfs -ra), or choose another path for the share."
        for path in paths
        for other, file in foreign.items()
        if is_below(path, other) or is_below(other, path)
    ]
