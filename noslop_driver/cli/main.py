# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of the command line, and nothing else: each command is a call of `commands`."""

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


def _together(*options: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """Several options as one decorator, shown in the order they are written."""

    def decorate(function: _F) -> _F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_which_hosts = _together(
    click.option("--network", "networks", multiple=True, help="Search this network. Repeatable."),
    click.option("--host", "hosts", multiple=True, help="This host: name or address[:port]. Repeatable."),
    click.option("--port", type=click.IntRange(1, 65535), default=22, show_default=True, help="SSH port of the hosts."),
)
_login = _together(
    click.option("--user", metavar="ACCOUNT", help="Log in with this account. Default: yours."),
    click.option("--ssh-key", type=_FILE, help="Log in with this private key."),
    click.option("--ask-pass", is_flag=True, help="Ask for the SSH password."),
    click.option("--pass-file", type=_FILE, help="Read the SSH password from a file."),
    click.option("--ask-become-pass", is_flag=True, help="Ask for the sudo password."),
    click.option("--become-pass-file", type=_FILE, help="Read the sudo password from a file."),
)
_new_keys = _together(
    click.option("--host-keys", type=_FILE, help="Accept new hosts whose SSH key this file lists (SHA256:...)."),
    click.option("--accept-new-keys", is_flag=True, help="Accept every new host's SSH key, whoever it is."),
)
_which_studio = _together(
    click.option("--studio", metavar="NAME", help="The studio inventories/NAME. Default: the one that is there."),
    click.option("--inventory", type=_DIRECTORY, help="The studio's directory, wherever it is."),
)
_what = _together(
    click.option("--local", is_flag=True, help="This computer alone is the studio."),
    click.option("--wishes", "wishes_file", type=_FILE, help="Read wishes from a YAML file."),
    click.option("--server", metavar="HOST", help="The storage server. Default: proposed by hardware."),
    click.option(
        "--role",
        "roles",
        metavar="HOST=SERVICE,...",
        multiple=True,
        help="What runs on a host: ollama, comfyui, backend; or none. Repeatable.",
    ),
    click.option("--storage-root", metavar="DIR", help="Where the shared directories lie, on every host."),
    *(
        click.option(flag, name, metavar="DIR", help="One of them, when it lies elsewhere.")
        for name, flag in PATH_FLAGS.items()
    ),
    click.option("--provider", "storage_provider", type=click.Choice(PROVIDERS), help="How they are shared."),
    click.option(
        "--min-free-gb", type=click.FloatRange(min=0), help="Refuse a storage server that has less free space."
    ),
    click.option("--share-user", "users", metavar="ACCOUNT", multiple=True, help="May write to them. Repeatable."),
    click.option(
        "--allow",
        "allowed_networks",
        metavar="NETWORK",
        multiple=True,
        help=f"May use Ollama and ComfyUI, besides the studio's hosts. {OPEN_NETWORK} Repeatable.",
    ),
    click.option("--studio-id", metavar="ID", help="Take over a studio whose inventory was lost."),
    click.option("--artifact-mirror", metavar="URL", help="Where downloads come from."),
    click.option("--firewall/--no-firewall", "firewall_enabled", default=None, help="Make the studio's rules."),
)
_limit = click.option("--limit", metavar="PATTERN", help="Only these hosts of the studio.")
_check = click.option("--check", is_flag=True, help="Predict what would be changed; change nothing.")
_output = _together(
    click.option("--json", "json_output", is_flag=True, help="Print the result as JSON on standard output."),
    click.option("--debug", is_flag=True, help="Show where in the driver an error came from."),
)
_asking = _together(
    click.option("-y", "--yes", is_flag=True, help="Ask nothing: the answer is yes. Accepts no new host."),
    click.option("--no-input", is_flag=True, help="Ask nothing: what is not said is an error."),
)
_WISHES = (
    *("server", "storage_root", *PATH_FLAGS, "storage_provider", "min_free_gb", "users", "allowed_networks"),
    *("studio_id", "artifact_mirror", "firewall_enabled"),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="noslop-driver")
def app() -> None:
    """Turns the machines on a network into one generative-media studio, and proves that it works."""


@app.command()
@_which_hosts
@_output
def discover(**flags: object) -> int:
    """Find machines with an SSH server. Logs in to none."""
    return _run("discover", flags)


@app.command()
@_which_hosts
@_login
@_new_keys
@_which_studio
@_what
@_limit
@click.option("--save", is_flag=True, help="Write the plan as an inventory.")
@_asking
@_output
def plan(**flags: object) -> int:
    """Look at the hosts and propose who does what, and why. Changes nothing on them."""
    return _run("plan", flags)


@app.command()
@_which_hosts
@_login
@_new_keys
@_which_studio
@_what
@_limit
@_check
@_asking
@_output
def deploy(**flags: object) -> int:
    """Make the studio, or bring it up to date. Safe to run again at any time."""
    return _run("deploy", flags)


@app.command()
@_login
@_which_studio
@_limit
@_asking
@_output
def verify(**flags: object) -> int:
    """Prove that the studio works. Changes nothing."""
    return _run("verify", flags)


@app.command()
@_which_studio
@_output
def status(**flags: object) -> int:
    """Show hosts, addresses, the last deployment and the last verification. Asks no host."""
    return _run("status", flags)


@app.command()
@_login
@_which_studio
@_limit
@_check
@_asking
@_output
def teardown(**flags: object) -> int:
    """Take away what was installed. Data, packages and the account stay."""
    return _run("teardown", flags)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words after the program's name; None: those it was called with.

    Returns:
        The exit code.
    """
    # Whoever ends us, ends what we started on the hosts too.
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


def _run(command: str, given: Mapping[str, Any]) -> int:
    """Run a command, print what is for a program, and say in a sentence what went wrong."""
    flags = dict(given)
    debug = flags.pop("debug")
    terminal = Terminal(
        json_output=flags.pop("json_output"),
        yes=flags.pop("yes", False),
        no_input=flags.pop("no_input", False),
    )
    try:
        # Not before it is needed: Ansible takes its time to import, and `--help` needs none of it.
        from noslop_driver.commands import COMMANDS  # noqa: PLC0415

        answer = COMMANDS[command](_options(flags), terminal)
        code, data, message = answer.code, answer.data, answer.message
    except DriverError as error:
        code, message, data = error.code, str(error), {}
        _trace(debug)
    except (KeyboardInterrupt, click.Abort, EOFError):
        code, message, data = ExitCode.INTERRUPTED, "Stopped.", {}
    except Exception as error:  # a traceback is for --debug
        code, data = ExitCode.FAILED, {}
        message = (
            f"The driver itself failed ({type(error).__name__}: {error}). This is a mistake in NoSlop: please report "
            f"it with what '--debug' shows."
        )
        _trace(debug)
    if message:
        terminal.error(message)
    if terminal.json_output:
        how = {"command": command, "ok": code is ExitCode.OK, "exit_code": int(code), "error": message or None}
        terminal.emit({**how, **data})
    return int(code)


def _trace(debug: bool) -> None:
    if debug:
        sys.stderr.write(printable(traceback.format_exc()))


def _options(flags: dict[str, Any]) -> Options:
    wished = {name: flags.pop(name) for name in _WISHES if name in flags}
    found = {name: value for name, value in wished.items() if value is not None and value != ()}
    for name, value in found.items():
        if isinstance(value, tuple):
            found[name] = [item for item in value if item != "none"]
    if roles := flags.pop("roles", None):
        found["roles"] = parse_roles(roles)
    return Options(**flags, wishes=found)


if __name__ == "__main__":
    raise SystemExit(main())
