# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command below `host`."""

from __future__ import annotations

from noslop_driver.commands.host.add import add_hosts
from noslop_driver.commands.host.drain import drain_host
from noslop_driver.commands.host.move_storage import move_storage
from noslop_driver.commands.host.remove import remove_host
from noslop_driver.commands.host.replace import replace_host
from noslop_driver.commands.login import read_login
from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult
from noslop_driver.commands.studio import find_studio, lock_studio
from noslop_driver.output.terminal import Terminal

_COMMANDS = {
    "add": add_hosts,
    "drain": drain_host,
    "move-storage": move_storage,
    "remove": remove_host,
    "replace": replace_host,
}


def host(options: Options, terminal: Terminal) -> CommandResult:
    """Change a host of a studio, or move the storage to one, while no other driver is at work on it."""
    studio = find_studio(inventory=options.inventory, name=options.studio, must_exist=True)
    login = read_login(options, terminal)
    with lock_studio(studio, terminal):
        return _COMMANDS[options.action](studio, login, options, terminal)
