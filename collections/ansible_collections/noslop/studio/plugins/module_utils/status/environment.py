# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the studio's variables of a host from the files that its services read, and hide the values of secrets."""

from __future__ import annotations

import re
from typing import TypedDict

from ansible_collections.noslop.studio.plugins.module_utils.host import state

#: Variables of the backend whose value is no secret. Any other may be one, such as the URL of its database.
OPEN = re.compile(r"NOSLOP_(STUDIO_ID|COMFYUI_HOSTS|CORS_ORIGINS|ROOT_PATH|LITTER_NAMES|[A-Z_]+_(BYTES|DAYS))")
_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")
#: What a backslash escapes between double quotes (systemd.exec(5), EnvironmentFile=; sh(1)).
_ESCAPED = re.compile(r'\\(["\\$`])')


class Environment(TypedDict):
    """The variables with their values, and the names of those whose values stay on the host."""

    variables: dict[str, str]
    secrets: list[str]


def read(node_file: str, backend_file: str) -> Environment:
    """Return the variables of a host, and those of the backend, whose file needs root, where its path is not empty."""
    variables = parse(state.read_text(node_file))
    secrets = []
    for name, value in parse(state.read_text(backend_file)).items() if backend_file else ():
        if OPEN.fullmatch(name):
            variables.setdefault(name, value)
        elif name not in variables:
            secrets.append(name)
    return {"variables": variables, "secrets": sorted(secrets)}


def parse(text: str) -> dict[str, str]:
    """Return the variables in the text of an environment file, of which each line has one."""
    variables = {}
    for match in map(_LINE.fullmatch, text.splitlines()):
        if match is None:
            continue
        name, value = match[1], match[2].strip()
        if len(value) >= 2 and value[0] == value[-1] == '"':
            value = _ESCAPED.sub(r"\1", value[1:-1])
        elif len(value) >= 2 and value[0] == value[-1] == "'":
            value = value[1:-1]
        variables[name] = value
    return variables
