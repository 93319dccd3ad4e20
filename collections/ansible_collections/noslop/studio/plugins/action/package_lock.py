# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write the file of ``noslop.studio.package_lock`` beside the inventory, on the controller."""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

#: Ansible ignores files with this suffix in the directory of an inventory (INVENTORY_IGNORE_EXTS).
SUFFIX = ".lock.txt"
_INPUTS = re.compile(r"(?m)^# inputs: ([0-9a-f]{64})$")
#: Lines that a host may write to the file: versions and hashes. An address or an option of pip would reach all hosts.
_LINE = re.compile(
    r"# step \d+|[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!_-]+( ; [^\\]+)?( \\)?|    --hash=sha256:[0-9a-f]{64}( \\)?"
)


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Read the file, and let the host resolve the packages where it is missing or has other inputs."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the lock."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        directory = str(self._task.args.get("directory") or "")
        name = str(self._task.args.get("name") or "")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name):
            raise AnsibleActionFail(f"name: {name!r} cannot be the name of a file")
        about = self._module(variables, resolve=False)
        if about.get("failed"):
            return {**result, **about}
        kind = f"{name}-python{about['python_version']}-{about['architecture']}"
        path = Path(directory, kind + SUFFIX) if directory else None
        text = read_lock(path, about["inputs"])
        if text or self._task.check_mode:
            return {**result, "changed": not text, "lock": text, "file": str(path or "")}
        descriptor = _lock(directory)
        try:
            text = read_lock(path, about["inputs"])  # another host may have written it meanwhile
            if text:
                return {**result, "changed": False, "lock": text, "file": str(path or "")}
            about = self._module(variables, resolve=True)
            if about.get("failed"):
                return {**result, **about}
            result["warnings"] = about.get("warnings", [])
            text = format_lock(kind, about["inputs"], about["resolved"])
            written = write_lock(path, text)
            if written:
                result["warnings"].append(
                    f"{written} Hosts install what is resolved now, which may be something else tomorrow."
                )
            return {**result, "changed": True, "lock": text, "file": "" if written else str(path)}
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _module(self, variables: dict[str, Any], *, resolve: bool) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name="noslop.studio.package_lock",
            module_args={**self._task.args, "resolve": resolve},
            task_vars=variables,
        )
        return answer


def read_lock(path: Path | None, inputs: str) -> str:
    """Return the content of the file, or an empty string where it is missing or has other inputs."""
    if path is None:
        return ""
    with suppress(OSError, UnicodeDecodeError):
        text = path.read_text("utf-8")
        match = _INPUTS.search(text)
        if match and match[1] == inputs:
            return text
    return ""


def format_lock(kind: str, inputs: str, resolved: str) -> str:
    """Return the content of the file.

    Raises:
        AnsibleActionFail: the host's answer contains other lines than packages with versions and hashes.
    """
    for line in resolved.splitlines():
        if not _LINE.fullmatch(line):
            raise AnsibleActionFail(
                f"{line!r} is not a package with its version and hash, and is not written down for other hosts. A "
                "package that is named by an address cannot be compared with a hash: name one that an index has."
            )
    return (
        f"# Managed by NoSlop (noslop.studio.package_lock): the packages of {kind}, as they were resolved once.\n"
        "# Each host and each later run installs exactly these. Keep the file with the inventory; remove it to have\n"
        "# newer versions resolved.\n"
        f"# inputs: {inputs}\n{resolved}"
    )


def write_lock(path: Path | None, text: str) -> str:
    """Write the file, and return why it could not be written, or an empty string."""
    if path is None:
        return "There is no directory of an inventory to write down the packages in."
    part = path.with_name(f".{path.name}.new{os.getpid()}")
    try:
        part.write_text(text, "utf-8")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        return f"{path} cannot be written: {error.strerror}."
    return ""


def _lock(directory: str) -> int | None:
    """Lock the directory against the other hosts of this run."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor
