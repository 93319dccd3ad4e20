# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the directory of the studio that a command is for, lock it, and read its members."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from noslop_driver.ansible import studio_lock
from noslop_driver.ansible.inventory_list import list_inventory
from noslop_driver.errors import UsageError
from noslop_driver.hosts import ssh_config
from noslop_driver.inventory import directory
from noslop_driver.inventory.directory import Member, StudioDirectory
from noslop_driver.output.terminal import Terminal

INVENTORIES = Path("inventories")
DEFAULT_STUDIO = "studio"


def find_studio(*, inventory: Path | None, name: str | None, must_exist: bool) -> StudioDirectory:
    """Return the directory of a studio.

    Args:
        inventory: its directory, from `--inventory`.
        name: its name below `inventories`, from `--studio`; None, as `inventory` is: the only studio there.
        must_exist: True if it has an inventory already.

    Raises:
        UsageError: there is none and it must exist, or there are several and none was named.
    """
    if inventory:
        studio = StudioDirectory(inventory)
    elif name:
        studio = StudioDirectory(INVENTORIES / name)
    else:
        studios = list_studios()
        if len(studios) > 1:
            names = ", ".join(path.name for path in studios)
            raise UsageError(f"There are several studios in {INVENTORIES}/: {names}. Say which: --studio NAME.")
        studio = StudioDirectory(studios[0] if studios else INVENTORIES / DEFAULT_STUDIO)
    if inventory and studio.path.exists() and not studio.path.is_dir():
        raise UsageError(f"--inventory {inventory}: name the studio's directory, not a file in it.")
    if must_exist and not studio.exists:
        raise UsageError(
            f"{studio.path} has no inventory. Make a studio with 'noslop-driver deploy', or name the directory of "
            "one with --inventory DIR."
        )
    return studio


@contextlib.contextmanager
def lock_studio(studio: StudioDirectory, terminal: Terminal) -> Iterator[None]:
    """Lock the studio against other drivers, for as long as the context is open.

    Raises:
        UsageError: it is locked, or its state directory belongs to another account.
    """
    studio.make_state_dir()
    with studio_lock.lock(studio.state_dir / "lock", studio.path, terminal.print):
        yield


def read_members(inventory: Path, user: str) -> list[Member]:
    """Return the hosts of an inventory; `user` is the account for those to which it gives none.

    Raises:
        UsageError: Ansible cannot read the inventory, or it has no hosts.
    """
    return ssh_config.resolve_members(directory.read_members(list_inventory(inventory), user))


def list_studios() -> list[Path]:
    """Return the directories below `inventories` in which a driver has made a studio."""
    if not INVENTORIES.is_dir():
        return []
    return sorted(path for path in INVENTORIES.iterdir() if (path / ".noslop" / "written.json").exists())
