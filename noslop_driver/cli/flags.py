# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the commands of the command line and the flags of each, in the order of `--help`."""

from __future__ import annotations

import click
from ansible_collections.noslop.studio.plugins.module_utils.host.addresses import OPEN_NETWORK

from noslop_driver.choices import PROVIDERS
from noslop_driver.cli.completion import complete_host, complete_place
from noslop_driver.cli.host_flags import HOST
from noslop_driver.cli.model_flags import MODELS
from noslop_driver.cli.node_flags import NODES
from noslop_driver.cli.shared_flags import (
    CHECK,
    FILE,
    HOST_KEYS,
    LOGIN,
    NO_INPUT,
    OUTPUT,
    PROMPTS,
    STUDIO,
    VERBOSE,
    Command,
    make_switch,
)
from noslop_driver.cli.ssh_flags import SSH_SETUP
from noslop_driver.settings.flag_values import PATH_FLAGS

_DEPRECATED_CONFIG_FLAG = "--wishes"
"""The former name of `--config`."""

SETTING_NAMES = (
    *("server", "storage_root", *PATH_FLAGS, "storage_provider", "min_free_gb", "users", "allowed_networks"),
    *("studio_id", "artifact_mirror", "firewall_enabled", "announce", "smb_enabled"),
)
"""The flags that are settings of the studio, under the names of `StudioSettings`."""


class _ConfigOption(click.Option):
    """The option `--config`, whose help does not show the deprecated name."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return record and (record[0].replace(f", {_DEPRECATED_CONFIG_FLAG}", ""), record[1])


_HOSTS = (
    click.Option(["--network", "networks"], multiple=True, help="Search this network. Repeatable."),
    click.Option(
        ["--host", "hosts"],
        multiple=True,
        help="Use this host: [account@]name or address[:port], as ssh knows it. Repeatable.",
    ),
    click.Option(
        ["--port"], type=click.IntRange(1, 65535), default=22, show_default=True, help="SSH port of the hosts."
    ),
    click.Option(
        ["--mdns/--no-mdns", "mdns"],
        default=None,
        help="Find machines of the searched networks also by what they announce (mDNS), or not. Default: do.",
    ),
)
_SETTINGS = (
    make_switch("--local", "Make a studio of this computer alone."),
    _ConfigOption(
        ["--config", _DEPRECATED_CONFIG_FLAG, "config_file"],
        type=FILE,
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
        ["--announce/--no-announce", "announce"],
        default=None,
        help="Announce the services by mDNS to every machine on the hosts' networks, or not. Default: not.",
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
_LIMIT = click.Option(
    ["--limit"], metavar="PATTERN", shell_complete=complete_host, help="Run on these hosts of the studio only."
)
_FULL = make_switch("--full", "Run everything on every host, also where nothing differs.")
_DIFF = make_switch("--diff", "Show the differences of the files that are changed.")
_UPGRADE = (
    click.Option(
        ["--to", "versions"],
        metavar="SERVICE=VERSION",
        multiple=True,
        help="Install this version: comfyui=0.33.0, ollama=0.32.7. Default: those of the inventory. Repeatable.",
    ),
    click.Option(
        ["--host", "hosts"],
        metavar="HOST",
        multiple=True,
        shell_complete=complete_host,
        help="Upgrade this host only. Repeatable.",
    ),
)
_CACHED = make_switch("--cached", "Ask no host: show the inventory and the records only.")
_MEMBER = click.Argument(["member"], metavar="HOST", shell_complete=complete_host)
_PLACE = click.Argument(["words"], metavar="[HOST] [comfyui|ollama|backend]", nargs=-1, shell_complete=complete_place)
_SHELLS = ("bash", "zsh", "fish")
_FIX = make_switch(
    "--fix", "Mend what is safe to mend, ask before a service is restarted that works, and verify again."
)
_BUNDLE = click.Option(
    ["--bundle"], metavar="FILE.tar.gz", type=FILE, help="Write report, evidence and logs without secrets to this file."
)
_SAVE = make_switch("--save", "Write the plan as an inventory.")
_COMPARE = (
    make_switch(
        "--diff",
        "Show what differs from the studio as it is, in its inventory and on its hosts. Writes and changes nothing.",
        "compare",
    ),
    make_switch("--exit-code", "With --diff: exit with 5 where something differs."),
)

_FROM = click.Option(
    ["--from", "sources"],
    metavar="ssh-config|known-hosts|FILE",
    multiple=True,
    help="Ask the hosts of your ~/.ssh/config, of your ~/.ssh/known_hosts, or of an Ansible inventory. Repeatable.",
)

COMMANDS = (
    Command("discover", "Find machines with an SSH server. Logs in to none.", (*_HOSTS, _FROM, *OUTPUT)),
    SSH_SETUP,
    Command(
        "plan",
        "Look at the hosts and propose what each of them does, and why. Changes nothing on them.",
        (*_HOSTS, *LOGIN, *HOST_KEYS, *STUDIO, *_SETTINGS, _LIMIT, _SAVE, *_COMPARE, *PROMPTS, VERBOSE, *OUTPUT),
    ),
    Command(
        "deploy",
        "Make the studio, or update it. Safe to run again at any time: it looks at each host once, and runs nothing "
        "where all are as the inventory says.",
        (
            *(*_HOSTS, *LOGIN, *HOST_KEYS, *STUDIO, *_SETTINGS),
            *(_FULL, _LIMIT, CHECK, _DIFF, *PROMPTS, VERBOSE, *OUTPUT),
        ),
    ),
    Command(
        "upgrade",
        "Bring Ollama and ComfyUI to other versions, on one host first, and back where one does not work.",
        (*_UPGRADE, *LOGIN, *STUDIO, CHECK, *PROMPTS, VERBOSE, *OUTPUT),
    ),
    HOST,
    NODES,
    MODELS,
    Command(
        "verify",
        "Check that the studio works. Changes nothing.",
        (*LOGIN, *STUDIO, _LIMIT, *PROMPTS, VERBOSE, *OUTPUT),
    ),
    Command(
        "doctor",
        "Find out why the studio does not work: each fault once, with what mends it. Changes nothing without --fix.",
        (_FIX, _BUNDLE, *LOGIN, *STUDIO, *PROMPTS, VERBOSE, *OUTPUT),
    ),
    Command(
        "status",
        "Show what each host is doing now, its addresses, the last deployment and the last verification.",
        (_CACHED, *LOGIN, *STUDIO, NO_INPUT, VERBOSE, *OUTPUT),
    ),
    Command(
        "env",
        "Print the studio's variables of a host as lines for a shell. The values of secrets stay there.",
        (_MEMBER, *LOGIN, *STUDIO, NO_INPUT, VERBOSE, *OUTPUT),
    ),
    Command(
        "open",
        "Open ComfyUI, Ollama or the backend of a host in the browser. Default: the first ComfyUI. Logs in to no host.",
        (_PLACE, *STUDIO, *OUTPUT),
    ),
    Command(
        "completion",
        "Print the script with which a shell completes commands, flags and the names of a studio. Put it where yours "
        "looks, and start a new shell:\n\n\b\n"
        "    bash: noslop-driver completion bash > ~/.local/share/bash-completion/completions/noslop-driver\n"
        '    zsh:  noslop-driver completion zsh > "${fpath[1]}/_noslop-driver"\n'
        "    fish: noslop-driver completion fish > ~/.config/fish/completions/noslop-driver.fish",
        (click.Argument(["shell"], type=click.Choice(_SHELLS)), *OUTPUT),
    ),
    Command(
        "teardown",
        "Remove what was installed. Data, packages and the account stay.",
        (*LOGIN, *STUDIO, _LIMIT, CHECK, *PROMPTS, VERBOSE, *OUTPUT),
    ),
)
