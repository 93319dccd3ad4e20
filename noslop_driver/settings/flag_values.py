# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The flags and flag values of settings, before they are merged. `--help` imports this: nothing here is slow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ansible_collections.noslop.studio.plugins.module_utils import studio

from noslop_driver.choices import PREFIX, SERVICES
from noslop_driver.errors import UsageError

PATH_FIELDS = tuple(variable.removeprefix(PREFIX) for variable in studio.PATH_VARIABLES.values())
PATH_FLAGS = {name: f"--{name.replace('_', '-')}" for name in PATH_FIELDS}
"""Field of `StudioSettings` to flag of the command line."""


def parse_roles(values: Sequence[str]) -> dict[str, list[str]]:
    """Parse values of `--role` like `worker1=ollama,comfyui` (and `worker1=` for none).

    Raises:
        UsageError: a value has another form.
    """
    services: dict[str, list[str]] = {}
    for value in values:
        host, equals, roles = value.partition("=")
        names = [role for role in roles.replace(",", " ").split() if role != "none"]
        unknown = [name for name in names if name not in SERVICES]
        if not host or not equals or unknown:
            raise UsageError(
                f"--role {value}: write HOST=SERVICE,... with {', '.join(SERVICES)}, or HOST=none for no service."
            )
        services.setdefault(host, []).extend(names)
    return services


def parse_smb_users(values: Sequence[str]) -> list[dict[str, str]]:
    """Parse values of `--smb-user` like `anna=FILE`; without a file its password is asked for. `none` is no user."""
    users: list[dict[str, str]] = []
    for value in values:
        name, equals, file = value.partition("=")
        if name == "none":
            continue
        if equals and not file:
            raise UsageError(f"--smb-user {value}: write NAME=FILE with the password in the file, or NAME to be asked.")
        users.append({"name": name, **({"password_file": str(Path(file).expanduser().absolute())} if file else {})})
    return users
