# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve the API: a route checks a request, calls a method of `ProjectStorage`, and sends its result.

May touch: services and what is below, maintenance, archive, comfyui. Never: the share itself, SQL.
"""

from noslop_backend.api.app import create_app
from noslop_backend.api.limits import Limits

__all__ = ["Limits", "create_app"]
