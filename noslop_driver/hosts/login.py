# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define how the driver logs in to hosts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from noslop_driver.secrets import Secrets


@dataclass(frozen=True)
class Login:
    """The account, key and passwords for hosts to which the inventory gives none."""

    user: str
    ssh_key: Path | None = None
    secrets: Secrets = field(default_factory=Secrets)
