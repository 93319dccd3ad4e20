# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the results of commands that only look: what `--json` prints of `status`, `env`, `open` and `completion`."""

from __future__ import annotations

from typing import TypedDict

from noslop_driver.hosts.status_run import HostStateData


class HostNowData(TypedDict):
    """A host as it answered `status`. `state` is null where it could not be asked; `reason` and `todo` say why.

    `up` is whether it answered at all. `last_answer` is when it last did in a run that was recorded, ISO 8601, UTC.
    """

    host: str
    up: bool
    reason: str
    todo: str
    last_answer: str | None
    state: HostStateData | None


class EnvData(TypedDict):
    """The result of `env`. `secrets` are names of variables whose values stay on the host.

    `left_out` are names of variables that are not the studio's.
    """

    inventory: str
    host: str
    variables: dict[str, str]
    secrets: list[str]
    left_out: list[str]


class OpenData(TypedDict):
    """The result of `open`. `tunnel` is the SSH command that gets to a service that does not answer this computer.

    `reason` is why it does not answer, or why no browser was opened.
    """

    inventory: str
    host: str
    service: str
    url: str
    answers: bool
    opened: bool
    reason: str
    tunnel: str


class CompletionData(TypedDict):
    """The result of `completion`."""

    shell: str
    script: str
