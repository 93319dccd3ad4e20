# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the commands below `models`, and their own flags."""

from __future__ import annotations

import click

from noslop_driver.cli.completion import complete_model
from noslop_driver.cli.shared_flags import CHECK, LOGIN, OUTPUT, RUN, STUDIO, VERBOSE, Command, make_switch

_JSON_LINES = make_switch(
    "--json-lines", "Print how far the download is as JSON, an object a line, and the result as the last line."
)

MODELS = Command(
    "models",
    "Show the models of the studio's catalogue, and fetch them once for all hosts.",
    subcommands=(
        Command("list", "Show each model, and whether it was fetched. Asks no host.", (*STUDIO, *OUTPUT)),
        Command(
            "add",
            "Add a model to the catalogue, with what its hub says of it, and fetch it. SOURCE is an address, "
            "hub:OWNER/NAME/FILE[@REVISION], civitai:VERSION or ollama:NAME.",
            (
                click.Argument(["source"], metavar="SOURCE"),
                click.Option(["--folder"], metavar="FOLDER", help="Put the file here, below the models: loras."),
                click.Option(["--file"], metavar="NAME", help="Call the file this. Default: its name there."),
                click.Option(["--sha256"], metavar="HEX", help="The checksum of the file."),
                make_switch("--no-run", "Change the catalogue only; 'models pull' fetches it."),
                *RUN,
                _JSON_LINES,
            ),
        ),
        Command(
            "remove",
            "Show what names a model, remove it from the catalogue, and move it to the trash.",
            (
                click.Argument(["model"], metavar="NAME", shell_complete=complete_model),
                make_switch("--keep-file", "Change the catalogue only; the file stays where it is."),
                *RUN,
            ),
        ),
        Command(
            "restore",
            "Bring models back from the trash. Without a name, show what lies there.",
            (
                click.Argument(["models"], metavar="[NAME]...", nargs=-1, shell_complete=complete_model),
                *RUN,
            ),
        ),
        Command(
            "gc",
            "Show which models neither the catalogue nor a workflow names, and what is old in the trash.",
            (
                make_switch("--apply", "Move them to the trash, and remove what is old there."),
                click.Option(
                    ["--trash-days"],
                    type=click.IntRange(min=0),
                    default=30,
                    show_default=True,
                    help="Remove what was in the trash for longer.",
                ),
                *RUN,
            ),
        ),
        Command(
            "pull",
            "Fetch what is missing, or follow the download that runs already.",
            (
                click.Argument(["models"], metavar="[NAME]...", nargs=-1, shell_complete=complete_model),
                *RUN,
                _JSON_LINES,
            ),
        ),
        Command(
            "need",
            "Show what a workflow needs and which host lacks it. WORKFLOW is the path of its JSON, or the name of "
            "an official template. Changes nothing without --pull.",
            (
                click.Argument(["workflow"], metavar="WORKFLOW"),
                make_switch("--pull", "Add the missing models to the catalogue, and fetch them."),
                *RUN,
            ),
        ),
        Command(
            "search",
            "Search the catalogue, the official templates, the hub and the marketplace. Asks no host.",
            (
                click.Argument(["words"], metavar="WORD...", nargs=-1, required=True),
                click.Option(
                    ["--limit", "most"],
                    type=click.IntRange(1, 100),
                    default=10,
                    show_default=True,
                    help="Show so many results of each.",
                ),
                *STUDIO,
                *OUTPUT,
            ),
        ),
        Command(
            "verify",
            "Read all that was fetched, and compare it with its checksums.",
            (
                click.Argument(["models"], metavar="[NAME]...", nargs=-1, shell_complete=complete_model),
                *RUN,
            ),
        ),
        Command(
            "warm",
            "Read the warm models into the memory of their hosts, and show what is there.",
            (
                click.Argument(["models"], metavar="[NAME]...", nargs=-1, shell_complete=complete_model),
                *RUN,
            ),
        ),
        Command(
            "bench",
            "Measure on each host how long it takes to load models, without memory and from it.",
            (
                click.Argument(["models"], metavar="NAME...", nargs=-1, required=True, shell_complete=complete_model),
                *RUN,
            ),
        ),
        Command(
            "adopt",
            "Copy models that lie on a host to the share, and write them into the catalogue. Deletes none.",
            (
                click.Argument(["origin"], metavar="HOST:PATH"),
                click.Option(
                    ["--folder"],
                    metavar="FOLDER",
                    help="Put all files here, below the models. Default: as their directories are called.",
                ),
                click.Option(
                    ["--look-up/--no-look-up"],
                    default=True,
                    show_default=True,
                    help="Send their checksums to the marketplace, which may know where they come from.",
                ),
                *RUN,
            ),
        ),
        Command(
            "dedupe",
            "Let equal files share their bytes on the storage server's disk. Deletes nothing.",
            (
                click.Option(
                    ["--hard-links/--no-hard-links"],
                    default=True,
                    show_default=True,
                    help="Link equal files of one share where the file system cannot share bytes. A program that "
                    "writes to one name then changes the other.",
                ),
                *RUN,
                CHECK,
            ),
        ),
        Command("stop", "End the download that runs, and keep what it has.", (*LOGIN, *STUDIO, VERBOSE, *OUTPUT)),
    ),
)
