# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An intent as its owner holds it, the request that it came from, and what can become of it on the way."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from blake3 import blake3

from noslop_backend.core.enums import IntentOp


class IntentLostError(Exception):
    """The intent is not this owner's any more. Never leaves the service."""


class FileLockedError(Exception):
    """Another intent works on a file. Never leaves the service."""

    def __init__(self, intent_id: str) -> None:
        super().__init__(intent_id)
        self.intent_id = intent_id


class AlreadyAnsweredError(Exception):
    """There is nothing to do: this is the answer, to be kept for the key. Never leaves the service."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__()
        self.result = result


@dataclass
class IntentHandle:
    """An intent that this process owns; or, with `answer`, what the key had led to before."""

    intent_id: str
    project_id: str
    owner: str
    op: IntentOp
    moment: datetime
    plan: dict[str, Any] = field(default_factory=dict)
    reserved_bytes: int = 0
    renew_at_s: float = 0.0
    #: Everything has its final name: from here it can only be finished.
    published: bool = False
    answer: dict[str, Any] | None = None
    #: For the audit log: what was done, where that says more than `op`, and to what.
    operation: str = ""
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """Whatever makes two requests the same, for a key."""

    key: str | None = None
    arguments: tuple[Any, ...] = ()
    #: Where the key means something; by default the project.
    scope: str | None = None

    def scope_in(self, project_id: str) -> str:
        """Where the key means something."""
        return project_id if self.scope is None else self.scope

    def fingerprint(self, op: IntentOp) -> str:
        """Hash of what was asked for."""
        return blake3(json.dumps([op, *self.arguments], sort_keys=True, default=str).encode()).hexdigest()
