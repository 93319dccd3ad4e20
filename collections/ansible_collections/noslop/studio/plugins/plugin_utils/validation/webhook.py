# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the address that hosts inform of what turned bad, ``noslop_monitor_webhook``. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansible_collections.noslop.studio.plugins.module_utils.monitor.webhook import FORMATS, find_url_problem

VARIABLE = "noslop_monitor_webhook"
_KEYS = ("url", "secret_file", "format")


@dataclass(frozen=True)
class Webhook:
    """The address: ``url``, or ``secret_file``, a file on the controller that has it where it is a secret."""

    url: str
    secret_file: str
    format: str


def parse_webhook(value: object) -> Webhook | None:
    """Return the webhook; None where there is none.

    Raises:
        ValueError: it is unusable. The message says what to write, and has no URL in it.
    """
    if not value:
        return None
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError(f"{VARIABLE}: write {', '.join(_KEYS)} with a text each.")
    unknown = sorted(set(map(str, value)) - set(_KEYS))
    if unknown:
        raise ValueError(f"{VARIABLE}: there is no {', '.join(unknown)}; there are {', '.join(_KEYS)}.")
    url, secret_file, form = (str(value.get(key) or "") for key in _KEYS)
    webhook = Webhook(url, secret_file, form or FORMATS[0])
    if webhook.format not in FORMATS:
        raise ValueError(f"{VARIABLE}: format is one of {', '.join(FORMATS)}.")
    if bool(webhook.url) == bool(webhook.secret_file):
        raise ValueError(
            f"{VARIABLE}: write url, or secret_file, the path of a file on this computer, mode 0600, with the URL."
        )
    if webhook.url and webhook.format != FORMATS[0]:
        raise ValueError(
            f"{VARIABLE}: the URL of {webhook.format} is a secret, since others could write there with it. Put it "
            "into a file, mode 0600, and name that in secret_file."
        )
    if webhook.url:
        _check_url(webhook.url)
    return webhook


def read_url(webhook: Webhook, read: Callable[[str], str]) -> str:
    """Return the URL of a webhook.

    Args:
        webhook: the parsed webhook.
        read: a function that returns the content of a file of the controller.

    Raises:
        ValueError: the file cannot be read, or has no usable URL.
    """
    if not webhook.secret_file:
        return webhook.url
    try:
        url = read(webhook.secret_file)
        _check_url(url)
    except ValueError as error:
        raise ValueError(f"{VARIABLE}: {str(error).removeprefix(f'{VARIABLE}: ')}") from None
    return url


def _check_url(url: str) -> None:
    problem = find_url_problem(url)
    if problem:
        raise ValueError(f"{VARIABLE}: the URL cannot be used: {problem}.")
