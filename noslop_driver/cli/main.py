# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the command line and run a command of `noslop_driver.commands`."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from ansible_collections.noslop.studio.plugins.module_utils.studio import OPEN_NETWORK

from noslop_driver import __version__
from noslop_driver.cli.session import Options
from noslop_driver.errors import DriverError, ExitCode
from noslop_driver.output.terminal import Terminal, printable
from noslop_driver.settings.merge import PATH_FLAGS, PROVIDERS, parse_roles

_F = TypeVar("_F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)
_DIRECTORY = click.Path(path_type=Path)


_DEPRECATED_CONFIG_FLAG = "--wishes"
"""The former name of `--config`."""


class _ConfigOption(click.Option):
    """The option `--config`, whose help does not show the deprecated name."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return record and (record[0].replace(f", {_DEPRECATED_CONFIG_FLAG}", ""), record[1])


def _combine(*options: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """Return one decorator for several options; `--help` shows them in the same order."""

    def decorate(function: _F) -> _F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_host_options = _combine(
    click.option("--network", "networks", multiple=True, help="Search this network. Repeatable."),
    click.option("--host", "hosts", multiple=True, help="Use this host: name or address[:port]. Repeatable."),
    click.option("--port", type=click.IntRange(1, 65535), default=22, show_default=True, help="SSH port of the hosts."),
)
_login_options = _combine(
    click.option("--user", metavar="ACCOUNT", help="Log in with this account. Default: yours."),
    click.option("--ssh-key", type=_FILE, help="Log in with this private key."),
    click.option("--ask-pass", is_flag=True, help="Ask for the SSH password."),
    click.option("--pass-file", type=_FILE, help="Read the SSH password from a file."),
    click.option("--ask-become-pass", is_flag=True, help="Ask for the sudo password."),
    click.option("--become-pass-file", type=_FILE, help="Read the sudo password from a file."),
)
_host_key_options = _combine(
    click.option("--host-keys", type=_FILE, help="Accept new hosts whose SSH key this file lists (SHA256:...)."),
    click.option("--accept-new-keys", is_flag=True, help="Accept the SSH key of every new host, unchecked."),
)
_studio_options = _combine(
    click.option("--studio", metavar="NAME", help="Use the studio inventories/NAME. Default: the only one."),
    click.option("--inventory", type=_DIRECTORY, help="Use the studio in this directory."),
)
_settings_options = _combine(
    click.option("--local", is_flag=True, help="Make a studio of this computer alone."),
    click.option(
        "--config",
        _DEPRECATED_CONFIG_FLAG,
        "config_file",
        cls=_ConfigOption,
        type=_FILE,
        help="Read the studio's settings from a YAML file.",
    ),
    click.option("--server", metavar="HOST", help="Use this host as storage server. Default: the best hardware."),
    click.option(
        "--role",
        "roles",
        metavar="HOST=SERVICE,...",
        multiple=True,
        help="Run these services on a host: ollama, comfyui, backend; or none. Repeatable.",
    ),
    click.option("--storage-root", metavar="DIR", help="Put the shared directories here, on every host."),
    *(
        click.option(flag, name, metavar="DIR", help="Put this shared directory elsewhere.")
        for name, flag in PATH_FLAGS.items()
    ),
    click.option(
        "--provider", "storage_provider", type=click.Choice(PROVIDERS), help="Share the directories this way."
    ),
    click.option(
        "--min-free-gb", type=click.FloatRange(min=0), help="Refuse a storage server that has less free space."
    ),
    click.option(
        "--share-user",
        "users",
        metavar="ACCOUNT",
        multiple=True,
        help="Let this account write to the shared directories. Repeatable.",
    ),
    click.option(
        "--allow",
        "allowed_networks",
        metavar="NETWORK",
        multiple=True,
        help=f"Open Ollama and ComfyUI to networks, besides the studio's hosts. {OPEN_NETWORK} Repeatable.",
    ),
    click.option("--studio-id", metavar="ID", help="Take over a studio whose inventory was lost."),
    click.option("--artifact-mirror", metavar="URL", help="Download from this mirror."),
    click.option(
        "--firewall/--no-firewall", "firewall_enabled", default=None, help="Write the studio's firewall rules, or not."
    ),
)
_limit_option = click.option("--limit", metavar="PATTERN", help="Run on these hosts of the studio only.")
_check_option = click.option("--check", is_flag=True, help="Predict the changes, make none.")
_output_options = _combine(
    click.option("--json", "json_output", is_flag=True, help="Print the result as JSON on standard output."),
    click.option("--debug", is_flag=True, help="Print the traceback of an error."),
)
_prompt_options = _combine(
    click.option("-y", "--yes", is_flag=True, help="Answer yes to every question. Accepts no new host."),
    click.option("--no-input", is_flag=True, help="Ask no question: a missing answer is an error."),
)
_SETTING_NAMES = (
    *("server", "storage_root", *PATH_FLAGS, "storage_provider", "min_free_gb", "users", "allowed_networks"),
    *("studio_id", "artifact_mirror", "firewall_enabled"),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="noslop-driver")
def app() -> None:
    """Turn the machines on a network into one generative-media studio, and prove that it works."""


@app.command()
@_host_options
@_output_options
def discover(**flags: object) -> int:
    """Find machines with an SSH server. Logs in to none."""
    return _run_command("discover", flags)


@app.command()
@_host_options
@_login_options
@_host_key_options
@_studio_options
@_settings_options
@_limit_option
@click.option("--save", is_flag=True, help="Write the plan as an inventory.")
@_prompt_options
@_output_options
def plan(**flags: object) -> int:
    """Look at the hosts and propose what each of them does, and why. Changes nothing on them."""
    return _run_command("plan", flags)


@app.command()
@_host_options
@_login_options
@_host_key_options
@_studio_options
@_settings_options
@_limit_option
@_check_option
@_prompt_options
@_output_options
def deploy(**flags: object) -> int:
    """Make the studio, or update it. Safe to run again at any time."""
    return _run_command("deploy", flags)


@app.command()
@_login_options
@_studio_options
@_limit_option
@_prompt_options
@_output_options
def verify(**flags: object) -> int:
    """Check that the studio works. Changes nothing."""
    return _run_command("verify", flags)


@app.command()
@_studio_options
@_output_options
def status(**flags: object) -> int:
    """Show hosts, addresses, the last deployment and the last verification. Asks no host."""
    return _run_command("status", flags)


@app.command()
@_login_options
@_studio_options
@_limit_option
@_check_option
@_prompt_options
@_output_options
def teardown(**flags: object) -> int:
    """Remove what was installed. Data, packages and the account stay."""
    return _run_command("teardown", flags)


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


def _run_command(command: str, given: Mapping[str, Any]) -> int:
    """Run a command, print its error, and its result as JSON with `--json`; return its exit code."""
    flags = dict(given)
    debug = flags.pop("debug")
    terminal = Terminal(
        json_output=flags.pop("json_output"),
        yes=flags.pop("yes", False),
        no_input=flags.pop("no_input", False),
    )
    try:
        # Imported late: importing Ansible is slow, and `--help` does not need it.
        from noslop_driver.commands import COMMANDS  # noqa: PLC0415

        result = COMMANDS[command](_make_options(flags), terminal)
        code, data, message = result.code, result.data, result.message
    except DriverError as error:
        code, message, data = error.code, str(error), {}
        _print_traceback(debug)
    except (KeyboardInterrupt, click.Abort, EOFError):
        code, message, data = ExitCode.INTERRUPTED, "Stopped.", {}
    except Exception as error:  # a traceback is for --debug
        code, data = ExitCode.FAILED, {}
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


def _make_options(flags: dict[str, Any]) -> Options:
    values = {name: flags.pop(name) for name in _SETTING_NAMES if name in flags}
    settings = {name: value for name, value in values.items() if value is not None and value != ()}
    for name, value in settings.items():
        if isinstance(value, tuple):
            settings[name] = [item for item in value if item != "none"]
    if roles := flags.pop("roles", None):
        settings["roles"] = parse_roles(roles)
    return Options(**flags, settings=settings)


if __name__ == "__main__":
    raise SystemExit(main())
