# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the lookup ``noslop.studio.backend_wheel``."""

from __future__ import annotations

DOCUMENTATION = r"""
name: backend_wheel
author: The NoSlop authors (@noslop)
version_added: 0.1.0
short_description: Return the wheel of the backend on the controller
description:
  - Finds the wheel that the role C(studio_backend) installs, and returns its path, version and SHA-256.
  - NoSlop's own wheel contains the backend's, in the C(files) of the role. In a checkout, C(make backend-wheel) builds
    it into C(dist); a wheel that is older than the source is refused.
options:
  _terms:
    description: Path of another wheel. When empty, the wheel is searched for.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Show the wheel that would be installed
  ansible.builtin.debug:
    msg: "{{ lookup('noslop.studio.backend_wheel') }}"
"""

RETURN = r"""
_raw:
  description: One dictionary with C(path), C(version) and C(sha256).
  type: list
  elements: dict
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

COLLECTION = Path(__file__).resolve().parents[2]
#: Root of the checkout, when the collection is in one as collections/ansible_collections/noslop/studio.
CHECKOUT = COLLECTION.parents[3]
NAME = re.compile(r"noslop_backend-(?P<version>[^-]+)-py3-none-any\.whl")
_SET = "set studio_backend_wheel to a wheel of noslop-backend"


class WheelError(Exception):
    """There is no wheel to install. The message is for the user who deploys."""


def find(collection: Path, checkout: Path) -> Path:
    """Return the wheel that belongs to this collection.

    Args:
        collection: directory of the collection.
        checkout: root of its checkout, when it is in one.

    Raises:
        WheelError: there is none, or it is older than its source.
    """
    files = collection / "roles" / "studio_backend" / "files"
    bundled = sorted(path for path in files.glob("*.whl") if NAME.fullmatch(path.name))
    if len(bundled) == 1:
        return bundled[0]
    if bundled:
        raise WheelError(f"{files} holds {len(bundled)} wheels of the backend, and one is to be installed: {_SET}.")
    source = checkout / "backend"
    if not (source / "pyproject.toml").is_file():
        raise WheelError(
            f"This collection ({collection}) came without the backend's wheel, which NoSlop's own wheel brings: "
            f"install noslop with pip, or {_SET}."
        )
    built = sorted(path for path in (checkout / "dist").glob("*.whl") if NAME.fullmatch(path.name))
    newest = max(built, key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        raise WheelError(f"The backend's wheel is not built yet: run `make backend-wheel` in {checkout}, or {_SET}.")
    built_at = newest.stat().st_mtime
    later = [path for path in _sources(source) if path.stat().st_mtime > built_at]
    if later:
        raise WheelError(
            f"{newest} is older than {later[0].relative_to(checkout)}: run `make backend-wheel` in {checkout}, "
            f"or {_SET}."
        )
    return newest


def _sources(source: Path) -> list[Path]:
    files = [path for path in (source / "noslop_backend").rglob("*") if path.suffix != ".pyc" and path.is_file()]
    return [source / "pyproject.toml", *sorted(files)]


def describe(wheel: Path) -> dict[str, str]:
    """Return path, version and SHA-256 of a wheel.

    Raises:
        WheelError: it cannot be read, or is no wheel of the backend.
    """
    name = NAME.fullmatch(wheel.name)
    if name is None:
        raise WheelError(
            f"{wheel} is not called like a wheel of noslop-backend (noslop_backend-VERSION-py3-none-any.whl)."
        )
    try:
        content = wheel.read_bytes()
    except OSError as error:
        raise WheelError(f"{wheel} cannot be read: {error.strerror}.") from error
    return {"path": str(wheel.absolute()), "version": name["version"], "sha256": hashlib.sha256(content).hexdigest()}


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no types
    """Return the backend's wheel."""

    def run(self, terms: list[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[dict[str, str]]:
        """Return path, version and SHA-256 of the wheel."""
        self.set_options(var_options=variables, direct=kwargs)
        named = [term for term in terms if term]
        try:
            return [describe(Path(named[0]).expanduser() if named else find(COLLECTION, CHECKOUT))]
        except WheelError as error:
            raise AnsibleError(str(error)) from error
