# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the commands below `nodes`, and their own flags."""

from __future__ import annotations

import click

from noslop_driver.cli.completion import complete_host, complete_node
from noslop_driver.cli.shared_flags import OUTPUT, RUN, STUDIO, Command, make_switch

_NODE = click.Argument(["node"], metavar="NAME", shell_complete=complete_node)
_NODE_SOURCE = (
    click.Option(["--repo"], metavar="URL", help="Install from this git repository."),
    click.Option(["--commit"], metavar="SHA", help="Install this commit. Default: the newest of the default branch."),
    click.Option(["--archive"], metavar="URL", help="Install from this archive: .tar.gz, .tgz or .zip."),
    click.Option(["--sha256"], metavar="HEX", help="The checksum of the archive."),
    click.Option(
        ["--host", "hosts"],
        metavar="HOST",
        multiple=True,
        shell_complete=complete_host,
        help="Install on this host only. Repeatable.",
    ),
    make_switch("--allow-install-script", "Run the node's install.py, as the account noslop-build."),
)
_NO_RUN = make_switch("--no-run", "Change the list only; the next deployment installs it.")
_NODE_RUN = (_NO_RUN, *RUN)

NODES = Command(
    "nodes",
    "Show and change the custom nodes of ComfyUI.",
    subcommands=(
        Command("list", "Show each node, where it runs, and why not elsewhere. Asks no host.", (*STUDIO, *OUTPUT)),
        Command("add", "Add a node, or change its source.", (_NODE, *_NODE_SOURCE, *_NODE_RUN)),
        Command("remove", "Remove a node from every host. Its files stay on the share.", (_NODE, *_NODE_RUN)),
        Command(
            "rollback",
            "Go back to the list before, or to the earlier entry of one node.",
            (click.Argument(["node"], metavar="[NAME]", required=False, shell_complete=complete_node), *_NODE_RUN),
        ),
    ),
)
