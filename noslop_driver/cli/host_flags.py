# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the commands below `host`, and their own flags."""

from __future__ import annotations

import click

from noslop_driver.cli.completion import complete_host
from noslop_driver.cli.shared_flags import CHECK, HOST_KEYS, RUN, Command

_MEMBER = click.Argument(["member"], metavar="NAME", shell_complete=complete_host)
_DEAD = click.Option(["--dead"], is_flag=True, help="Do not contact it: it will not come back.")
_AGAIN = click.Option(["--again"], is_flag=True, help="Also a machine that was removed from the studio.")
_PORT = click.Option(["--port"], type=click.IntRange(1, 65535), default=22, show_default=True, help="Its SSH port.")
_ROLE = click.Option(
    ["--role", "roles"],
    metavar="HOST=SERVICE,...",
    multiple=True,
    help="Run these services on it: ollama, comfyui; or none. Repeatable.",
)


def _make_timeout(text: str) -> click.Option:
    return click.Option(
        ["--timeout"], metavar="SECONDS", type=click.IntRange(min=1), default=600, show_default=True, help=text
    )


HOST = Command(
    "host",
    "Add, remove, replace and drain a host, and move the storage to one.",
    subcommands=(
        Command(
            "add",
            "Add machines to the studio, and deploy them. Changes of the others only firewall, exports and what names "
            "the members.",
            (
                click.Argument(["hosts"], metavar="HOST...", nargs=-1, required=True),
                _PORT,
                _ROLE,
                _AGAIN,
                *HOST_KEYS,
                *RUN,
            ),
        ),
        Command(
            "remove",
            "Remove a host from the studio, whether it answers or not. Its data stays; its machine is refused from "
            "now on.",
            (_MEMBER, _DEAD, *RUN),
        ),
        Command(
            "replace",
            "Replace the machine of a host by another one, which gets its name, its roles and its variables.",
            (
                click.Argument(["member"], metavar="OLD", shell_complete=complete_host),
                click.Argument(["replacement"], metavar="NEW"),
                _PORT,
                _DEAD,
                _AGAIN,
                *HOST_KEYS,
                *RUN,
            ),
        ),
        Command(
            "drain",
            "Wait until nothing runs on a host, then stop Ollama and ComfyUI there. New jobs are not refused "
            "meanwhile.",
            (
                _MEMBER,
                _make_timeout("Wait so long for each of them. What still runs then is not stopped."),
                click.Option(["--undo"], is_flag=True, help="Start them again."),
                *RUN,
            ),
        ),
        Command(
            "move-storage",
            "Move the storage to another host of the studio: it is copied while it is served, then everything that "
            "writes is stopped, the rest is copied, every file is compared by its hash, and the hosts are switched. "
            "The old server keeps its files. Run it again to continue an interrupted move.",
            (
                click.Argument(["member"], metavar="NEW", shell_complete=complete_host),
                _make_timeout("Wait so long for what ComfyUI and Ollama do. If they still run then, nothing is moved."),
                click.Option(["--undo"], is_flag=True, help="Give up a move that is not complete."),
                CHECK,
                *RUN,
            ),
        ),
    ),
)
