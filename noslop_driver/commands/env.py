# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the studio's variables of a host as lines for a shell."""

from __future__ import annotations

import getpass
import shlex

from noslop_driver.commands.host.members import find_member
from noslop_driver.commands.login import read_login
from noslop_driver.commands.look_result import EnvData
from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult
from noslop_driver.commands.studio import find_studio, read_members
from noslop_driver.errors import ExitCode
from noslop_driver.hosts.environment_run import read_environment
from noslop_driver.output.terminal import Terminal


def env(options: Options, terminal: Terminal) -> CommandResult:
    """Print each variable of a host, quoted for a shell, and the names of its secrets as comments."""
    studio = find_studio(inventory=options.inventory, name=options.studio, must_exist=True)
    members = read_members(studio.path, options.user or getpass.getuser())
    member = find_member(members, str(options.member), studio)
    environment = read_environment(studio.path, member, read_login(options, terminal), terminal)
    for name, value in environment.variables.items():
        terminal.print(f"export {name}={shlex.quote(value)}")
    for name in environment.secrets:
        terminal.print(f"# {name} is a secret: its value stays on {member.name}.")
    if environment.left_out:
        terminal.warn(f"Left out, since they are not the studio's: {', '.join(environment.left_out)}")
    data: EnvData = {
        "inventory": str(studio.path),
        "host": member.name,
        "variables": environment.variables,
        "secrets": environment.secrets,
        "left_out": environment.left_out,
    }
    return CommandResult(ExitCode.OK, data)
