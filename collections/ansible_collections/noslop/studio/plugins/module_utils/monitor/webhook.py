# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inform one address of what turned bad or good: compose the message, and send it."""

from __future__ import annotations

import http.client
import ipaddress
import json
import ssl
import time
import urllib.parse
from collections.abc import Sequence
from typing import Any

from ansible_collections.noslop.studio.plugins.module_utils.host.check_status import Entry

#: ``json`` for programs, and what the two chats expect.
FORMATS = ("json", "slack", "discord")
TIMEOUT_S = 5.0
#: Discord refuses longer ones.
LONGEST_TEXT = 1900
ELLIPSIS = "\n…"


def find_url_problem(url: str) -> str:
    """Return why a URL cannot be used, without the URL, which may be a secret; empty where it can.

    Plain HTTP is for addresses of one's own network: elsewhere others on the way could read and answer.
    """
    if not url.isascii() or any(character.isspace() or not character.isprintable() for character in url):
        return "it has a space, or a character that no URL has"
    try:
        parts = urllib.parse.urlsplit(url)
        host, __ = parts.hostname or "", parts.port
    except ValueError:
        return "its port is no number, or its address is none"
    if parts.scheme not in ("https", "http") or not host:
        return "it does not begin with https:// and a host"
    if parts.username is not None:
        return "it has a user before an @; write the token into its path, as chats do"
    if parts.scheme == "http" and not _is_private(host):
        return "it begins with http://, which only an IP address of your own network may; use https://"
    return ""


def compose(form: str, host: str, studio_id: str, turned: Sequence[Entry], bad: int) -> bytes:
    """Return the body of a message.

    Args:
        form: one of FORMATS.
        host: the host that checks itself.
        studio_id: its studio.
        turned: the checks that turned.
        bad: how many are bad now.
    """
    if form == "json":
        return json.dumps({
            "studio": studio_id,
            "host": host,
            "bad": bad,
            "turned": [
                {
                    "check": entry.check,
                    "share": entry.share,
                    "ok": entry.ok,
                    "since": _format_time(entry.since),
                    "seen": entry.observed,
                    "expected": entry.expected,
                    "todo": entry.todo,
                }
                for entry in turned
            ],
        }).encode()  # fmt: skip
    lines = [f"NoSlop, studio {studio_id}: {host} has {bad} failed checks." if bad else f"{host} is good again."]
    for entry in turned:
        what = f"{entry.check} {entry.share}".strip()
        since = _format_time(entry.since)
        lines.append(f"good again: {what}" if entry.ok else f"BAD: {what}, since {since}: {entry.observed}")
        lines += [] if entry.ok else [f"    {entry.todo}"]
    text = "\n".join(lines)
    if len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT - len(ELLIPSIS)] + ELLIPSIS
    body: dict[str, Any] = {"content": text, "allowed_mentions": {"parse": []}}
    if form == "slack":
        # https://docs.slack.dev/messaging/formatting-message-text: these three have a meaning there.
        body = {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
    return json.dumps(body).encode()


def send(url: str, body: bytes) -> str:
    """Send a message and return what went wrong, without the URL's path; empty where it was accepted.

    Follows no redirect, uses no proxy, and verifies the certificate. One attempt: the caller tries again.
    """
    parts = urllib.parse.urlsplit(url)
    host = str(parts.hostname)
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    if parts.scheme == "https":
        secure = ssl.create_default_context()
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, parts.port, timeout=TIMEOUT_S, context=secure
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json", "User-Agent": "NoSlop"})
        status = connection.getresponse().status
    except http.client.HTTPException as error:
        return f"{host} answered something that is no HTTP ({type(error).__name__})"
    except OSError as error:
        return f"{host} was not reached: {error.strerror or error or type(error).__name__}"
    finally:
        connection.close()
    if 300 <= status < 400:
        return f"{host} redirects to another address ({status}), which is not followed: write that address instead"
    return "" if 200 <= status < 300 else f"{host} answered {status}"


def _is_private(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_private or address.is_loopback


def _format_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
