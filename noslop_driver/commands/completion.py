# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the script with which a shell completes the driver's command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from noslop_driver.commands.look_result import CompletionData
from noslop_driver.commands.options import Options
from noslop_driver.commands.result import CommandResult
from noslop_driver.errors import ExitCode, UsageError
from noslop_driver.output.terminal import Terminal

PROGRAM = "noslop-driver"
VARIABLE = "_NOSLOP_DRIVER_COMPLETE"
"""The variable by which click knows that a shell asks (click's documentation, "Shell Completion")."""


def completion(options: Options, terminal: Terminal) -> CommandResult:
    """Print the script for a shell."""
    shell = str(options.shell)
    made = get_completion_class(shell)
    if made is None:
        raise UsageError(f"There is no completion for {shell}.")
    # The script only names the program and the variable; the commands are asked for later.
    script = made(click.Group(PROGRAM), {}, PROGRAM, VARIABLE).source()
    for line in script.splitlines():
        terminal.print(line)
    data: CompletionData = {"shell": shell, "script": script}
    return CommandResult(ExitCode.OK, data)
