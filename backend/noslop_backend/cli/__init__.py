# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Register the commands of `noslop-backend` and run one. Each subject has a module.

A module is imported when one of its commands is run, so that a new command is a line here and a click command there.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import click

from noslop_backend import __version__
from noslop_backend.cli.context import ACCOUNT, PROGRAM, Environment, ExitCode, failure
from noslop_backend.core import confinement
from noslop_backend.core.errors import BackendError
from noslop_backend.core.settings import ENV_FILE
from noslop_backend.journal.audit import acting, user

#: Command to where it is: module of this package, and name in it.
COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("serve", "serve"),
    "migrate": ("database", "migrate"),
    "token": ("tokens", "token"),
    "audit": ("audit", "audit"),
    "project": ("projects", "project"),
    "stats": ("maintenance", "stats"),
    "cleanup": ("maintenance", "cleanup"),
    "recover": ("maintenance", "recover"),
    "retention": ("retention", "retention"),
    "reconcile": ("reconcile", "reconcile"),
    "rebuild": ("rebuild", "rebuild"),
    "rebuild-search": ("search_index", "rebuild_search"),
    "inspect": ("inspection", "inspect"),
    "backup": ("backup", "backup"),
    "export": ("archive", "export_project"),
    "import": ("archive", "import_project"),
    "ingest": ("ingest", "ingest_prompt"),
    "model-uses": ("model_uses", "model_uses"),
}


class _Commands(click.Group):
    """Commands that are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        return cast(click.Command, getattr(importlib.import_module(f"{__name__}.{module}"), name))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name=PROGRAM)
@click.option(
    "--env-file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=ENV_FILE,
    show_default=True,
    help="Settings; the environment wins over them.",
)
@click.option(
    "--account",
    envvar="NOSLOP_ACCOUNT",
    default=ACCOUNT,
    show_default=True,
    metavar="NAME",
    help="The service's account, which this becomes when root runs it.",
)
@click.pass_context
def app(ctx: click.Context, env_file: Path, account: str) -> None:
    """Keep every project's files in one layout: tracked, limited, never lost."""
    environment = ctx.ensure_object(Environment)
    environment.env_file, environment.account = env_file, account


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words after the program's name; None: those it was called with.

    Returns:
        The exit code.
    """
    confinement.protect_memory()
    environment = Environment()
    code, message, error_code = ExitCode.OK, "", ""
    try:
        # The command's own name comes when it reads the settings, and goes with this block.
        with acting(user(PROGRAM)):
            answered: Any = app.main(args=arguments, prog_name=PROGRAM, standalone_mode=False, obj=environment)
        # A number is an exit code: `--help` returns one, and commands may.
        return answered if isinstance(answered, int) else ExitCode.OK
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.USAGE
    except click.ClickException as error:
        code, message = ExitCode.USAGE, error.format_message()
        error.show()
    except (click.Abort, KeyboardInterrupt):
        code, message = ExitCode.INTERRUPTED, "Stopped."
        sys.stderr.write(f"{message}\n")
    except BrokenPipeError:
        # The program that read the output has closed it. Nothing may be flushed into it at the end either.
        sys.stdout = open("/dev/null", "w", encoding="utf-8")  # noqa: SIM115 - closed by the end of the process
        return ExitCode.FAILED
    except Exception as error:
        code, message = failure(error)
        error_code = error.code if isinstance(error, BackendError) else ""
        sys.stderr.write(f"{message}\n")
    if environment.json_output:
        environment.emit_error(code, message, error_code)
    return code
