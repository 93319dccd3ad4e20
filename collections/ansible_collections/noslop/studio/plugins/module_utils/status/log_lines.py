# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Select the lines of a journal that say why a unit failed, without control characters and without secrets."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence

from ansible_collections.noslop.studio.plugins.module_utils import studio
from ansible_collections.noslop.studio.plugins.module_utils.checks.check import shorten
from ansible_collections.noslop.studio.plugins.module_utils.host import state

MOST = 3
REMOVED = "(removed: secret)"
#: A shorter value is no secret, and would be replaced within words.
_SHORTEST_SECRET = 6
_ERROR = re.compile(
    r"error|fail|fatal|exception|cannot|can't|denied|refused|not found|no such|killed|out of memory", re.I
)
#: Lines of systemd that only repeat the state of the unit.
_ECHO = re.compile(r": (Scheduled restart job|Failed with result|Main process exited|Consumed|Start request repeated)")
_URL_ACCOUNT = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s\"'<>]*@", re.I)
#: What follows a word such as password, token or Authorization, with the scheme of HTTP where there is one.
_NAMED_SECRET = re.compile(
    r"(\b[\w-]*(?:pass(?:word|wd|phrase)?|token|secret|api[_-]?key|access[_-]?key|credentials?|authorization|cookie)"
    r"[\w-]*[\"']?\s*[=:]\s*[\"']?(?:(?:bearer|basic|token)\s+)?)[^\s\"',;&]+",
    re.I,
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", re.I)


def read_secrets(paths: Iterable[str] = ()) -> list[str]:
    """Return the values in the studio's files of secrets, the longest first: one may contain another.

    Args:
        paths: the files, which hold JSON, lines of an environment, or a secret alone. Default: those of this host.
    """
    own = [studio.BACKEND_ENV_FILE, *glob.glob(os.path.join(studio.CREDENTIALS_DIR, "*", "*"))]
    values: set[str] = set()
    for path in paths or own:
        for line in state.read_text(path).splitlines():
            name, __, value = line.partition("=")
            if path == studio.BACKEND_ENV_FILE and not _NAMED_SECRET.match(f"{name}=x"):
                continue
            values |= {line.strip(), value.strip().strip("\"'"), *re.findall(r'"([^"\s]+)"', line)}
    return sorted((value for value in values if len(value) >= _SHORTEST_SECRET), key=len, reverse=True)


def select(lines: Sequence[str], secrets: Sequence[str]) -> list[str]:
    """Return the last errors of a journal, three lines at most; where none looks like an error, its last lines."""
    telling = [line for line in lines if line.strip() and not _ECHO.search(line)]
    errors = [line for line in telling if _ERROR.search(line)]
    return [shorten(_clean(line, secrets)) for line in (errors or telling)[-MOST:]]


def _clean(line: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        line = line.replace(secret, REMOVED)
    line = "".join(char if char.isprintable() else " " for char in line)
    line = _URL_ACCOUNT.sub(rf"\1{REMOVED}@", line)
    line = _NAMED_SECRET.sub(rf"\1{REMOVED}", line)
    return _BEARER.sub(rf"\1 {REMOVED}", line)
