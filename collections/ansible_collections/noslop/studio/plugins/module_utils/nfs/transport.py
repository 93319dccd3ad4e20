# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide which clients an export accepts: those without TLS, those with it, those with a certificate. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

#: Values of ``xprtsec=`` (exports(5)). An export without the option accepts all of these clients.
CLIENTS = ("none", "tls", "mtls")
_NAME = "xprtsec="


def format_option(clients: Iterable[str]) -> str:
    """Return the option of exports(5) that accepts these clients, in one order."""
    accepted = set(clients)
    return _NAME + ":".join(client for client in CLIENTS if client in accepted)


def find_clients(options: Iterable[str]) -> tuple[str, ...]:
    """Return the clients that an export with these options accepts."""
    listed = [option[len(_NAME) :].split(":") for option in options if option.startswith(_NAME)]
    accepted = {client for clients in listed for client in clients} if listed else set(CLIENTS)
    return tuple(client for client in CLIENTS if client in accepted)


def normalize(options: Iterable[str]) -> frozenset[str]:
    """Return the options with the accepted clients in one order, named where the option is missing."""
    words = list(options)
    return frozenset({word for word in words if not word.startswith(_NAME)} | {format_option(find_clients(words))})


def join_clients(
    wanted: Iterable[str], paths: Iterable[str], exports: Mapping[str, Mapping[str, frozenset[str]]]
) -> list[str]:
    """Return the clients that the shares accept while clients change: the wanted ones, and those that are accepted now.

    Args:
        wanted: the clients that the shares are to accept in the end.
        paths: the shares.
        exports: what the server exports, path to client to options.
    """
    accepted = set(wanted)
    for path in paths:
        for options in exports.get(path, {}).values():
            accepted.update(find_clients(options))
    return [client for client in CLIENTS if client in accepted]
