# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the fingerprint of a deployment: checksums of all that decides what the hosts of a studio are like after it.

The version of NoSlop would not do: a checkout changes without it. A file of secrets counts by its size and times, so
that nothing can be learnt of its content from the fingerprint, which lies on every host.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.release import __version__ as ansible_version
from ansible_collections.noslop.studio.plugins.module_utils import studio

import noslop_driver
from noslop_driver.inventory.directory import StudioDirectory

Fingerprint = Mapping[str, str]
"""SHA-256 by part: one of PARTS to what it is made of."""

INVENTORY, PROGRAM, NAMED, MADE = "inventory", "program", "named files", "made files"
PARTS = (INVENTORY, PROGRAM, NAMED, MADE)
"""Variables, groups and hosts; the collection, the driver and Ansible; files that variables name; and files that runs
make beside the inventory, such as the list of ComfyUI's packages."""

_COLLECTION = Path(studio.__file__).resolve().parents[2]
_CHECKOUT = _COLLECTION.parents[3]
_OMITTED = frozenset({"__pycache__", "changelogs", "tests"})
_CONNECTION = "ansible_"
"""Variables that decide how Ansible connects, and nothing of what it makes."""
_WRITTEN = frozenset({*studio.RUN_VARIABLES, "studio_verify_record_path", "studio_verify_report_path"})
"""Variables that name files which a run writes: reports, and records of hosts, of which this computer may be one."""
_AUTHORITY = "nfs-authority"
"""The directory below `.noslop` in which the role nfs_tls makes the studio's authority."""
_LOCK_DIRECTORY = "comfyui_lock_dir"
"""The variable of the directory with the lists of ComfyUI's packages; by default it is the studio's."""
_COMPUTED = re.compile(
    r"\b(?:lookup|query|q|now)\s*\((?!\s*['\"]noslop\.studio\.)|\bansible_facts\b|\bansible_date_time\b"
)
_INVENTORY_DIR = re.compile(r"\{\{\s*inventory_dir\s*\}\}")
_LONGEST_PATH = 4096


def make(listing: Mapping[str, Any], studio_directory: StudioDirectory) -> Fingerprint:
    """Return the fingerprint of a deployment from this inventory, with the files as they are now.

    Args:
        listing: the output of `ansible-inventory --list`.
        studio_directory: the studio's directory, where relative paths begin.
    """
    named = list_named_files(listing, studio_directory.path)
    return combine(listing, read_program_files(), _describe(named), read_made_files(listing, studio_directory))


def combine(
    listing: Mapping[str, Any], program: Mapping[str, str], named: Mapping[str, str], made: Mapping[str, str]
) -> Fingerprint:
    """Return the fingerprint of values: the inventory, and a text for each file. The order of names is no difference.

    The order of hosts in a group is one, since the first of a group may do what the others do not.
    """
    values: tuple[object, ...] = (listing, program, named, made)
    return {part: _digest(value) for part, value in zip(PARTS, values, strict=True)}


def list_computed(listing: Mapping[str, Any]) -> list[str]:
    """Return the variables whose values are computed anew in each run, so that the same text may mean another value."""
    names = {
        name
        for variables in _list_variables(listing)
        for name, value in variables.items()
        if not name.startswith(_CONNECTION) and any(map(_COMPUTED.search, _list_texts(value)))
    }
    return sorted(names)


def list_named_files(listing: Mapping[str, Any], base: Path) -> list[Path]:
    """Return the files of this computer that variables name, such as those with a password."""
    texts = {
        text
        for variables in _list_variables(listing)
        for name, value in variables.items()
        if not name.startswith(_CONNECTION) and name not in _WRITTEN
        for text in _list_texts(value)
    }
    return sorted({path for text in texts if (path := _find_file(_INVENTORY_DIR.sub(str(base), text), base))})


def read_program_files() -> dict[str, str]:
    """Return the checksums of the files of the collection and the driver, with the backend's wheel, and of Ansible."""
    texts = {"ansible-core": ansible_version}
    for top in (_COLLECTION, Path(noslop_driver.__file__).resolve().parent):
        texts.update({f"{top.name}/{path.relative_to(top)}": _hash(path) for path in _walk(top)})
    # A checkout has the wheel there, an installed collection among its own files.
    texts.update({path.name: _hash(path) for path in (_CHECKOUT / "dist").glob("noslop_backend-*.whl")})
    return texts


def read_made_files(listing: Mapping[str, Any], studio_directory: StudioDirectory) -> dict[str, str]:
    """Return a text for each file that runs make on this computer: lists of packages, and the studio's authority."""
    values = (variables.get(_LOCK_DIRECTORY) for variables in _list_variables(listing))
    directories = {studio_directory.path, *(Path(str(value)).expanduser() for value in values if value)}
    locks = sorted(path for directory in directories for path in directory.glob("*.lock.txt"))
    texts = {str(path): _hash(path) for path in locks}
    return {**texts, **_describe(_walk(studio_directory.state_dir / _AUTHORITY))}


def _describe(paths: Iterable[Path]) -> dict[str, str]:
    texts = {}
    for path in paths:
        status = path.stat()
        texts[str(path)] = f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
    return texts


def _list_variables(listing: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the variables of each host."""
    return list(listing.get("_meta", {}).get("hostvars", {}).values())


def _list_texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _list_texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _list_texts(one)


def _find_file(text: str, base: Path) -> Path | None:
    """Return the file that a text names; None for any other text. Relative paths begin in `base` or here."""
    if not text or len(text) > _LONGEST_PATH or "\n" in text or "\0" in text:
        return None
    try:
        path = Path(text).expanduser()
        return next((one.resolve() for one in (base / path, path) if one.is_file()), None)
    except (OSError, RuntimeError):  # too long a name, or the home of an account that does not exist
        return None


def _walk(path: Path) -> Iterator[Path]:
    """Return the files below a directory, or the file itself, in a fixed order."""
    if path.is_file():
        yield path
    elif path.is_dir():
        for entry in sorted(path.iterdir()):
            if entry.name not in _OMITTED and entry.suffix != ".pyc":
                yield from _walk(entry)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
