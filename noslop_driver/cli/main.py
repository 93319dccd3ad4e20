# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the command line and run a command: the function of its name in `noslop_driver.commands.<name>`."""

from __future__ import annotations

import functools
import importlib
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import click

from noslop_driver import __version__
from noslop_driver.cli import flags
from noslop_driver.cli.examples import format_examples
from noslop_driver.cli.given_flags import list_given
from noslop_driver.cli.shared_flags import Command
from noslop_driver.commands.options import Options
from noslop_driver.errors import DriverError, ExitCode
from noslop_driver.output.printable import printable
from noslop_driver.output.terminal import Terminal
from noslop_driver.settings.flag_values import parse_roles, parse_smb_users

if TYPE_CHECKING:
    from noslop_driver.commands.result import CommandResult


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="noslop-driver")
def app() -> None:
    """Turn the machines on a network into one generative-media studio, and prove that it works."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words after the program's name; None: those of this process.

    Returns:
        The exit code.
    """
    # SIGTERM and SIGHUP end the tasks on the hosts too, as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        return int(cast(int, app.main(args=arguments, prog_name="noslop-driver", standalone_mode=False) or 0))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.USAGE
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("Stopped.\n")
        return ExitCode.INTERRUPTED


def _run_command(command: str, **given: Any) -> int:  # noqa: ANN401 - click passes values of any type
    """Run a command, print its error, and its result as JSON with `--json`; return its exit code."""
    values = dict(given)
    debug = values.pop("debug")
    json_lines = values.pop("json_lines", False)
    terminal = Terminal(
        json_output=values.pop("json_output") or json_lines,
        json_lines=json_lines,
        yes=values.pop("yes", False),
        no_input=values.pop("no_input", False),
        verbosity=values.pop("verbosity", 0),
        diff=values.pop("diff", False),
    )
    data: Mapping[str, object] = {}
    try:
        # Imported late: importing Ansible is slow, and `--help` does not need it.
        name = command.replace("-", "_")
        module = importlib.import_module(f"noslop_driver.commands.{name}")
        run: Callable[[Options, Terminal], CommandResult] = getattr(module, name)
        result = run(_make_options(values, list_given(click.get_current_context())), terminal)
        code, data, message = result.code, result.data, result.message
    except DriverError as error:
        code, message = error.code, str(error)
        _print_traceback(debug)
    except (KeyboardInterrupt, click.Abort, EOFError):
        code, message = ExitCode.INTERRUPTED, "Stopped."
    except Exception as error:  # a traceback is for --debug
        code = ExitCode.FAILED
        message = (
            f"The driver itself failed ({type(error).__name__}: {error}). This is a mistake in NoSlop: please report "
            f"it with what '--debug' shows."
        )
        _print_traceback(debug)
    if message:
        terminal.print_error(message)
    if terminal.json_output:
        header = {"command": command, "ok": code is ExitCode.OK, "exit_code": int(code), "error": message or None}
        terminal.print_json({**header, **data})
    return int(code)


def _print_traceback(debug: bool) -> None:
    if debug:
        sys.stderr.write(printable(traceback.format_exc()))


def _make_options(values: dict[str, Any], given: Sequence[Sequence[str]]) -> Options:
    """Return the options for the values of the flags: those that are settings of the studio lie in one mapping."""
    settings: dict[str, Any] = {}
    for name in flags.SETTING_NAMES:
        value = values.pop(name, None)
        if isinstance(value, tuple) and value:
            settings[name] = [item for item in value if item != "none"]
        elif value is not None and value != ():
            settings[name] = value
    if roles := values.pop("roles", None):
        settings["roles"] = parse_roles(roles)
    if smb_users := values.pop("smb_users", None):
        settings["smb_users"] = parse_smb_users(smb_users)
    return Options(**values, settings=settings, given=given)


def _make_click_command(command: Command) -> click.Command:
    """Return the command for click; a group, if it has subcommands."""
    if not command.subcommands:
        return click.Command(
            command.name,
            callback=functools.partial(_run_command, command.name),
            params=list(command.flags),
            help=command.help,
            epilog=format_examples(command.name),
        )
    group = click.Group(command.name, help=command.help)
    for subcommand in command.subcommands:
        group.add_command(
            click.Command(
                subcommand.name,
                callback=functools.partial(_run_command, command.name, action=subcommand.name),
                params=list(subcommand.flags),
                help=subcommand.help,
                epilog=format_examples(f"{command.name} {subcommand.name}"),
            )
        )
    return group


for _command in flags.COMMANDS:
    app.add_command(_make_click_command(_command))

if __name__ == "__main__":
    raise SystemExit(main())
