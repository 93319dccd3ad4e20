# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the command `ssh-setup` and its own flags."""

from __future__ import annotations

import click

from noslop_driver.cli.shared_flags import FILE, HOST_KEYS, OUTPUT, PROMPTS, STUDIO, Command, make_switch

SSH_SETUP = Command(
    "ssh-setup",
    "Put your SSH key on hosts that only have a password. Safe to run again.",
    (
        click.Argument(["hosts"], metavar="[ACCOUNT@]HOST[:PORT]...", nargs=-1, required=True),
        click.Option(["--port"], type=click.IntRange(1, 65535), default=22, show_default=True, help="Their SSH port."),
        click.Option(["--user"], metavar="ACCOUNT", help="The account on them. Default: yours."),
        click.Option(["--ssh-key"], type=FILE, help="The private key of the pair. Default: ~/.ssh/id_ed25519."),
        make_switch("--ask-pass", "Ask for the SSH password at the start."),
        click.Option(["--pass-file"], type=FILE, help="Read the SSH password from a file."),
        make_switch("--remove", "Remove the key from them again."),
        *(*HOST_KEYS, *STUDIO, *PROMPTS, *OUTPUT),
    ),
)
