# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the secrets that an inventory has or names, and replace secrets in what is given to others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from noslop_driver.output.printable import printable
from noslop_driver.secrets import SCRUBBED, Secrets

#: Shorter values, such as yes and none, are no secrets, and are in many other words.
LEAST_LENGTH = 4
#: Shorter parts of an address, such as `services`, are in many other words.
LEAST_OF_PATH = 12
_PATH_OF_URL = re.compile(r"^[a-z][a-z0-9+.-]*://[^/]*|^(?![a-z][a-z0-9+.-]*://).*", re.I | re.S)
#: A file of secrets is small; a larger one is something else.
MOST_BYTES = 64 * 1024
_SECRET_NAME = re.compile(
    r"pass(word|words|wd|phrase|code)?$|_pass_|password|passphrase|secret|token|webhook|credential|api_?key|vault", re.I
)
#: Keys beside a secret that say how it is used.
_PLAIN_KEYS = frozenset({"name", "format"})
_PATTERNS = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S), SCRUBBED),
    (re.compile(r"\$ANSIBLE_VAULT;\S+(\s+[0-9a-f]{16,})*"), SCRUBBED),
    (re.compile(r"\b(Bearer|Basic)\s+[^\s\"',;]+", re.I), rf"\1 {SCRUBBED}"),
    (re.compile(r"\b(hf_|gh[a-z]_|github_pat_|glpat-|sk-|xox[a-z]-)[A-Za-z0-9_-]{6,}"), SCRUBBED),
    (re.compile(r"https://(hooks\.[^\s\"'/]+|discord(app)?\.com/api/webhooks)/[^\s\"']+"), SCRUBBED),
    (
        re.compile(
            r"([\w-]*(?:password|passwd|passphrase|secret|token|api[_-]?key)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&}\\]+",
            re.I,
        ),
        rf"\1{SCRUBBED}",
    ),
)


def is_secret_name(name: str) -> bool:
    """Return whether a variable or a key of this name may have a secret."""
    return _SECRET_NAME.search(name) is not None


def list_secrets(variables: Mapping[str, Any], directory: Path) -> set[str]:
    """Return the secrets among variables of an inventory, and those in files that such variables name.

    Args:
        variables: the variables of a host.
        directory: the inventory's, where relative paths begin.
    """
    secrets: set[str] = set()
    for name, value in variables.items():
        if is_secret_name(name):
            secrets.update(_list_values(value, directory))
        elif isinstance(value, Mapping):
            secrets |= list_secrets({str(key): item for key, item in value.items()}, directory)
        elif isinstance(value, list):
            for item in value:
                secrets |= list_secrets(item, directory) if isinstance(item, Mapping) else set()
    return {secret for secret in secrets if len(secret) >= LEAST_LENGTH}


def _list_values(value: object, directory: Path) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _PLAIN_KEYS:
                yield from _list_values(item, directory)
    elif isinstance(value, list):
        for item in value:
            yield from _list_values(item, directory)
    elif isinstance(value, str):
        for text in _read_lines(directory / Path(value).expanduser()) or [value]:
            yield text
            # Of an address, the path is the secret.
            yield from (word for word in _PATH_OF_URL.sub("", text).split("/") if len(word) >= LEAST_OF_PATH)


def _read_lines(path: Path) -> list[str]:
    """Return the lines of a file of secrets; none where there is no such file."""
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            return []
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError):
        return []


class Redaction:
    """Replaces secrets: those that are listed, and whatever looks like one."""

    def __init__(self, secrets: Secrets, more: Iterable[str] = ()) -> None:
        self._secrets = replace(secrets, more=(*secrets.more, *more))

    def clean_text(self, text: str) -> str:
        """Return a text with each secret replaced, and printable."""
        text = self._secrets.scrub("\n".join(printable(line) for line in self._secrets.scrub(text).split("\n")))
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def clean(self, value: Any, *, hidden: bool = False) -> Any:  # noqa: ANN401 - any JSON
        """Return JSON with the secrets in it replaced: texts that have one, and all below a key that names one."""
        if isinstance(value, str):
            return SCRUBBED if hidden and value else self.clean_text(value)
        if isinstance(value, Mapping):
            return {
                self.clean_text(str(key)): self.clean(
                    item, hidden=(hidden or is_secret_name(str(key))) and key not in _PLAIN_KEYS
                )
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.clean(item, hidden=hidden) for item in value]
        return value
