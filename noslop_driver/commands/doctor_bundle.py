# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what doctor learned to an archive for others, without secrets."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import platform
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from noslop_driver import __version__, records
from noslop_driver.ansible.inventory_list import list_inventory
from noslop_driver.errors import DriverError, UsageError
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.output.redaction import Redaction, list_secrets
from noslop_driver.secrets import Secrets, open_private

LOGGED_RUNS = 3
MOST_LOG_BYTES = 2 * 1024 * 1024
"""Of a longer log, only the end is in the archive."""
_SUFFIXES = (".tar.gz", ".tgz")
_OF_RECORDS = ("inventory.json", "verification.json", "evidence.json")


def check_path(path: Path) -> None:
    """Reject a path for the archive that cannot be written.

    Raises:
        UsageError: it has another suffix, or no directory that may be written to.
    """
    if not path.name.endswith(_SUFFIXES):
        raise UsageError(f"--bundle {path}: name a file that ends with {' or '.join(_SUFFIXES)}.")
    directory = path.absolute().parent
    if path.is_dir() or not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
        raise UsageError(f"--bundle {path}: name a file in a directory that you may write to.")


def write_bundle(
    path: Path,
    report: Mapping[str, Any],
    record: Path,
    studio: StudioDirectory,
    *,
    members: Iterable[Member],
    secrets: Secrets,
) -> None:
    """Write the archive, which only this account can read, in one step.

    Args:
        path: the archive.
        report: the result of the command.
        record: the directory of the record of the last verification.
        studio: the directory of the studio.
        members: its hosts.
        secrets: the passwords of the run.

    Raises:
        DriverError: it cannot be written.
    """
    redaction = Redaction(secrets, find_secrets(studio, members))
    texts = {
        "report.json": _format(redaction.clean(report)),
        "versions.json": _format(redaction.clean(_list_versions())),
        **{name: _format(redaction.clean(data)) for name, data in _read_record(record)},
        **{f"runs/{name}": _clean_file(redaction, text) for name, text in _read_runs(studio.records)},
    }
    folder = path.name.partition(".")[0] or "doctor"
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=path.absolute().parent) as temporary:
            made = Path(temporary, "bundle")
            with open(made, "xb", opener=open_private) as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
                for name, text in texts.items():
                    data = text.encode(errors="replace")
                    member = tarfile.TarInfo(f"{folder}/{name}")
                    member.size, member.mode = len(data), 0o600
                    archive.addfile(member, io.BytesIO(data))
            made.replace(path)
    except OSError as error:
        raise DriverError(f"--bundle {path} could not be written: {error}. Name another file.") from error


def find_secrets(studio: StudioDirectory, members: Iterable[Member]) -> set[str]:
    """Return the secrets in the variables of the inventory, and in the files that these name."""
    secrets: set[str] = set()
    for member in members:
        secrets |= list_secrets(member.variables, studio.path)
    for group in list_inventory(studio.path).values():
        variables = group.get("vars") if isinstance(group, Mapping) else None
        secrets |= list_secrets(variables, studio.path) if isinstance(variables, Mapping) else set()
    return secrets


def _list_versions() -> dict[str, str]:
    packages = ("ansible-core", "ansible-runner", "noslop-driver")
    versions = {"noslop": __version__, "python": platform.python_version(), "system": platform.platform()}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed as a package"
    return versions


def _read_record(record: Path) -> Iterator[tuple[str, Any]]:
    for name in _OF_RECORDS:
        try:
            yield name, json.loads((record / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue


def _read_runs(directory: Path) -> Iterator[tuple[str, str]]:
    """Yield the logs and the outcomes of the last runs."""
    for path in sorted(directory.glob("*/"), reverse=True)[:LOGGED_RUNS]:
        for name in (records.LOG, "outcome.json"):
            file = path / name
            if file.is_file():
                text = file.read_bytes()[-MOST_LOG_BYTES:].decode(errors="replace")
                yield f"{path.name}/{name}", text


def _clean_file(redaction: Redaction, text: str) -> str:
    """Return the text of a file without secrets; of JSON also those that only the name of a key shows."""
    try:
        return _format(redaction.clean(json.loads(text)))
    except ValueError:
        return redaction.clean_text(text)


def _format(data: Any) -> str:  # noqa: ANN401 - any JSON
    return json.dumps(data, indent=2, default=str) + "\n"
