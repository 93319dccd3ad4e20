# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words that a person chooses from: providers, transports, services, groups. Imports nothing that is slow."""

from __future__ import annotations

from typing import Literal, get_args

Provider = Literal["nfs", "local", "existing"]
NfsTransport = Literal["plain", "tls", "mtls"]
Writers = Literal["server", "members"]
SmbEncryption = Literal["offered", "required"]
ServiceRole = Literal["ollama", "comfyui", "backend"]
Role = Literal["storage_server", "storage_clients", "ollama", "comfyui", "backend"]
"""The groups of a studio's inventory."""

PROVIDERS: tuple[Provider, ...] = get_args(Provider)
SERVICES: tuple[ServiceRole, ...] = get_args(ServiceRole)
PREFIX = "noslop_"
"""The begin of the variables of a studio: the rest is the name of the setting."""
