# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the commands of the command line and the flags of each, in the order of `--help`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from ansible_collections.noslop.studio.plugins.module_utils.studio import OPEN_NETWORK

from noslop_driver.cli import host_flags
from noslop_driver.settings.merge import PATH_FLAGS, PROVIDERS

_FILE = click.Path(path_type=Path, dir_okay=False)
_DIRECTORY = click.Path(path_type=Path)

_DEPRECATED_CONFIG_FLAG = "--wishes"
"""The former name of `--config`."""

SETTING_NAMES = (
    *("server", "storage_root", *PATH_FLAGS, "storage_provider", "min_free_gb", "users", "allowed_networks"),
    *("studio_id", "artifact_mirror", "firewall_enabled", "smb_enabled"),
)
"""The flags that are settings of the studio, under the names of `StudioSettings`."""


@dataclass(frozen=True)
class Command:
    """A command of the command line."""

    name: str
    help: str
    flags: Sequence[click.Parameter] = ()
    subcommands: Sequence[Command] = ()
    """The commands of a group. The function of the group runs each, with the name as `action` of its options."""


class _ConfigOption(click.Option):
    """The option `--config`, whose help does not show the deprecated name."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return record and (record[0].replace(f", {_DEPRECATED_CONFIG_FLAG}", ""), record[1])


def _switch(flag: str, help_text: str, *names: str) -> click.Option:
    """Return a flag without a value."""
    return click.Option([flag, *names], is_flag=True, help=help_text)


_HOSTS = (
    click.Option(["--network", "networks"], multiple=True, help="Search this network. Repeatable."),
    click.Option(["--host", "hosts"], multiple=True, help="Use this host: name or address[:port]. Repeatable."),
    click.Option(
        ["--port"], type=click.IntRange(1, 65535), default=22, show_default=True, help="SSH port of the hosts."
    ),
)
_LOGIN = (
    click.Option(["--user"], metavar="ACCOUNT", help="Log in with this account. Default: yours."),
    click.Option(["--ssh-key"], type=_FILE, help="Log in with this private key."),
    _switch("--ask-pass", "Ask for the SSH password."),
    click.Option(["--pass-file"], type=_FILE, help="Read the SSH password from a file."),
    _switch("--ask-become-pass", "Ask for the sudo password."),
    click.Option(["--become-pass-file"], type=_FILE, help="Read the sudo password from a file."),
)
_HOST_KEYS = (
    click.Option(["--host-keys"], type=_FILE, help="Accept new hosts whose SSH key this file lists (SHA256:...)."),
    _switch("--accept-new-keys", "Accept the SSH key of every new host, unchecked."),
)
_STUDIO = (
    click.Option(["--studio"], metavar="NAME", help="Use the studio inventories/NAME. Default: the only one."),
    click.Option(["--inventory"], type=_DIRECTORY, help="Use the studio in this directory."),
)
_SETTINGS = (
    _switch("--local", "Make a studio of this computer alone."),
    _ConfigOption(
        ["--config", _DEPRECATED_CONFIG_FLAG, "config_file"],
        type=_FILE,
        help="Read the studio's settings from a YAML file.",
    ),
    click.Option(["--server"], metavar="HOST", help="Use this host as storage server. Default: the best hardware."),
    click.Option(
        ["--role", "roles"],
        metavar="HOST=SERVICE,...",
        multiple=True,
        help="Run these services on a host: ollama, comfyui, backend; or none. Repeatable.",
    ),
    click.Option(["--storage-root"], metavar="DIR", help="Put the shared directories here, on every host."),
    *(
        click.Option([flag, name], metavar="DIR", help="Put this shared directory elsewhere.")
        for name, flag in PATH_FLAGS.items()
    ),
    click.Option(
        ["--provider", "storage_provider"], type=click.Choice(PROVIDERS), help="Share the directories this way."
    ),
    click.Option(
        ["--min-free-gb"], type=click.FloatRange(min=0), help="Refuse a storage server that has less free space."
    ),
    click.Option(
        ["--share-user", "users"],
        metavar="ACCOUNT",
        multiple=True,
        help="Let this account write to the shared directories. Repeatable.",
    ),
    click.Option(
        ["--allow", "allowed_networks"],
        metavar="NETWORK",
        multiple=True,
        help=f"Open Ollama and ComfyUI to networks, besides the studio's hosts. {OPEN_NETWORK} Repeatable.",
    ),
    click.Option(["--studio-id"], metavar="ID", help="Take over a studio whose inventory was lost."),
    click.Option(["--artifact-mirror"], metavar="URL", help="Download from this mirror."),
    click.Option(
        ["--firewall/--no-firewall", "firewall_enabled"],
        default=None,
        help="Write the studio's firewall rules, or not.",
    ),
    click.Option(
        ["--smb/--no-smb", "smb_enabled"],
        default=None,
        help="Serve the shares to Windows and macOS too, or not. Default: not.",
    ),
    click.Option(
        ["--smb-user", "smb_users"],
        metavar="NAME[=FILE]",
        multiple=True,
        help="Let this person use them, with the password in a file. Without a file, it is asked for. Repeatable.",
    ),
)
_LIMIT = click.Option(["--limit"], metavar="PATTERN", help="Run on these hosts of the studio only.")
_FULL = _switch("--full", "Run everything on every host, also where nothing differs.")
_CHECK = _switch("--check", "Predict the changes, make none.")
_DIFF = _switch("--diff", "Show the differences of the files that are changed.")
_VERBOSE = click.Option(
    ["-v", "--verbose", "verbosity"],
    count=True,
    help="Print what Ansible prints about each task. Repeatable: -vv, -vvv.",
)
_UPGRADE = (
    click.Option(
        ["--to", "versions"],
        metavar="SERVICE=VERSION",
        multiple=True,
        help="Install this version: comfyui=0.33.0, ollama=0.32.7. Default: those of the inventory. Repeatable.",
    ),
    click.Option(["--host", "hosts"], metavar="HOST", multiple=True, help="Upgrade this host only. Repeatable."),
)
_NODE = click.Argument(["node"], metavar="NAME")
_NODE_SOURCE = (
    click.Option(["--repo"], metavar="URL", help="Install from this git repository."),
    click.Option(["--commit"], metavar="SHA", help="Install this commit. Default: the newest of the default branch."),
    click.Option(["--archive"], metavar="URL", help="Install from this archive: .tar.gz, .tgz or .zip."),
    click.Option(["--sha256"], metavar="HEX", help="The checksum of the archive."),
    click.Option(["--host", "hosts"], metavar="HOST", multiple=True, help="Install on this host only. Repeatable."),
    _switch("--allow-install-script", "Run the node's install.py, as the account noslop-build."),
)
_NO_RUN = _switch("--no-run", "Change the list only; the next deployment installs it.")
_SAVE = _switch("--save", "Write the plan as an inventory.")
_OUTPUT = (
    _switch("--json", "Print the result as JSON on standard output.", "json_output"),
    _switch("--debug", "Print the traceback of an error."),
)
_JSON_LINES = _switch(
    "--json-lines", "Print how far the download is as JSON, an object a line, and the result as the last line."
)
_PROMPTS = (
    _switch("-y", "Answer yes to every question. Accepts no new host.", "--yes"),
    _switch("--no-input", "Ask no question: a missing answer is an error."),
)
_RUN = (*_LOGIN, *_STUDIO, *_PROMPTS, _VERBOSE, *_OUTPUT)
_NODE_RUN = (_NO_RUN, *_RUN)

COMMANDS = (
    Command("discover", "Find machines with an SSH server. Logs in to none.", (*_HOSTS, *_OUTPUT)),
    Command(
        "plan",
        "Look at the hosts and propose what each of them does, and why. Changes nothing on them.",
        (*_HOSTS, *_LOGIN, *_HOST_KEYS, *_STUDIO, *_SETTINGS, _LIMIT, _SAVE, *_PROMPTS, _VERBOSE, *_OUTPUT),
    ),
    Command(
        "deploy",
        "Make the studio, or update it. Safe to run again at any time: it looks at each host once, and runs nothing "
        "where all are as the inventory says.",
        (
            *(*_HOSTS, *_LOGIN, *_HOST_KEYS, *_STUDIO, *_SETTINGS),
            *(_FULL, _LIMIT, _CHECK, _DIFF, *_PROMPTS, _VERBOSE, *_OUTPUT),
        ),
    ),
    Command(
        "upgrade",
        "Bring Ollama and ComfyUI to other versions, on one host first, and back where one does not work.",
        (*_UPGRADE, *_LOGIN, *_STUDIO, _CHECK, *_PROMPTS, _VERBOSE, *_OUTPUT),
    ),
    Command(
        "host",
        "Add, remove, replace and drain a host.",
        subcommands=tuple(
            Command(name, text, (*own, *_RUN)) for name, text, own in host_flags.list_entries(_HOST_KEYS)
        ),
    ),
    Command(
        "nodes",
        "Show and change the custom nodes of ComfyUI.",
        subcommands=(
            Command(
                "list", "Show each node, where it runs, and why not elsewhere. Asks no host.", (*_STUDIO, *_OUTPUT)
            ),
            Command("add", "Add a node, or change its source.", (_NODE, *_NODE_SOURCE, *_NODE_RUN)),
            Command("remove", "Remove a node from every host. Its files stay on the share.", (_NODE, *_NODE_RUN)),
            Command(
                "rollback",
                "Go back to the list before, or to the earlier entry of one node.",
                (click.Argument(["node"], metavar="[NAME]", required=False), *_NODE_RUN),
            ),
        ),
    ),
    Command(
        "models",
        "Show the models of the studio's catalogue, and fetch them once for all hosts.",
        subcommands=(
            Command("list", "Show each model, and whether it was fetched. Asks no host.", (*_STUDIO, *_OUTPUT)),
            Command(
                "add",
                "Add a model to the catalogue, with what its hub says of it, and fetch it. SOURCE is an address, "
                "hub:OWNER/NAME/FILE[@REVISION], civitai:VERSION or ollama:NAME.",
                (
                    click.Argument(["source"], metavar="SOURCE"),
                    click.Option(["--folder"], metavar="FOLDER", help="Put the file here, below the models: loras."),
                    click.Option(["--file"], metavar="NAME", help="Call the file this. Default: its name there."),
                    click.Option(["--sha256"], metavar="HEX", help="The checksum of the file."),
                    _switch("--no-run", "Change the catalogue only; 'models pull' fetches it."),
                    *_LOGIN,
                    *_STUDIO,
                    *_PROMPTS,
                    _VERBOSE,
                    _JSON_LINES,
                    *_OUTPUT,
                ),
            ),
            Command(
                "remove",
                "Show what names a model, remove it from the catalogue, and move it to the trash.",
                (
                    click.Argument(["model"], metavar="NAME"),
                    _switch("--keep-file", "Change the catalogue only; the file stays where it is."),
                    *_LOGIN,
                    *_STUDIO,
                    *_PROMPTS,
                    _VERBOSE,
                    *_OUTPUT,
                ),
            ),
            Command(
                "restore",
                "Bring models back from the trash. Without a name, show what lies there.",
                (
                    click.Argument(["models"], metavar="[NAME]...", nargs=-1),
                    *_LOGIN,
                    *_STUDIO,
                    *_PROMPTS,
                    _VERBOSE,
                    *_OUTPUT,
                ),
            ),
            Command(
                "gc",
                "Show which models neither the catalogue nor a workflow names, and what is old in the trash.",
                (
                    _switch("--apply", "Move them to the trash, and remove what is old there."),
                    click.Option(
                        ["--trash-days"],
                        type=click.IntRange(min=0),
                        default=30,
                        show_default=True,
                        help="Remove what was in the trash for longer.",
                    ),
                    *_LOGIN,
                    *_STUDIO,
                    *_PROMPTS,
                    _VERBOSE,
                    *_OUTPUT,
                ),
            ),
            Command(
                "pull",
                "Fetch what is missing, or follow the download that runs already.",
                (
                    click.Argument(["models"], metavar="[NAME]...", nargs=-1),
                    *_LOGIN,
                    *_STUDIO,
                    *_PROMPTS,
                    _VERBOSE,
                    _JSON_LINES,
                    *_OUTPUT,
                ),
            ),
            Command(
                "need",
                "Show what a workflow needs and which host lacks it. WORKFLOW is the path of its JSON, or the name of "
                "an official template. Changes nothing without --pull.",
                (
                    click.Argument(["workflow"], metavar="WORKFLOW"),
                    _switch("--pull", "Add the missing models to the catalogue, and fetch them."),
                    *_LOGIN,
                    *_STUDIO,
                    *_PROMPTS,
                    _VERBOSE,
                    *_OUTPUT,
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
                    *_STUDIO,
                    *_OUTPUT,
                ),
            ),
            Command(
                "verify",
                "Read all that was fetched, and compare it with its checksums.",
                (
                    click.Argument(["models"], metavar="[NAME]...", nargs=-1),
                    *_LOGIN,
                    *_STUDIO,
                    *_PROMPTS,
                    _VERBOSE,
                    *_OUTPUT,
                ),
            ),
            Command(
                "warm",
                "Read the warm models into the memory of their hosts, and show what is there.",
                (
                    click.Argument(["models"], metavar="[NAME]...", nargs=-1),
                    *_LOGIN,
                    *_STUDIO,
                    *_PROMPTS,
                    _VERBOSE,
                    *_OUTPUT,
                ),
            ),
            Command(
                "bench",
                "Measure on each host how long it takes to load models, without memory and from it.",
                (
                    click.Argument(["models"], metavar="NAME...", nargs=-1, required=True),
                    *_LOGIN,
                    *_STUDIO,
                    *_PROMPTS,
                    _VERBOSE,
                    *_OUTPUT,
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
                    *_LOGIN,
                    *_STUDIO,
                    *_PROMPTS,
                    _VERBOSE,
                    *_OUTPUT,
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
                    *_LOGIN,
                    *_STUDIO,
                    _CHECK,
                    *_PROMPTS,
                    _VERBOSE,
                    *_OUTPUT,
                ),
            ),
            Command(
                "stop", "End the download that runs, and keep what it has.", (*_LOGIN, *_STUDIO, _VERBOSE, *_OUTPUT)
            ),
        ),
    ),
    Command(
        "verify",
        "Check that the studio works. Changes nothing.",
        (*_LOGIN, *_STUDIO, _LIMIT, *_PROMPTS, _VERBOSE, *_OUTPUT),
    ),
    Command(
        "status",
        "Show hosts, addresses, the last deployment and the last verification. Asks no host.",
        (*_STUDIO, *_OUTPUT),
    ),
    Command(
        "teardown",
        "Remove what was installed. Data, packages and the account stay.",
        (*_LOGIN, *_STUDIO, _LIMIT, _CHECK, *_PROMPTS, _VERBOSE, *_OUTPUT),
    ),
)
