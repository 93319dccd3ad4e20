# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the flags of a command line, so that a message can name another command with the same ones."""

from __future__ import annotations

import click
from click.core import ParameterSource


def list_given(context: click.Context) -> list[tuple[str, ...]]:
    """Return each flag that was given on the command line, with its value if it has one; a repeated one each time."""
    given: list[tuple[str, ...]] = []
    for option in context.command.params:
        name = option.name or ""
        if (
            not isinstance(option, click.Option)
            or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE
        ):
            continue
        value = context.params[name]
        # The name of -y is --yes; that of a switch such as --no-smb is among the secondary ones.
        flag = max(option.opts if value or not option.is_flag else option.secondary_opts, key=len)
        if option.count or option.is_flag:
            given += [(flag,)] * (value if option.count else 1)
        else:
            given += [(option.opts[0], str(one)) for one in (value if option.multiple else (value,))]
    return given
