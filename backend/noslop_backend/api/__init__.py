# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The web interface. Thin: a route checks what came in, calls a method of `ProjectStorage`, and gives what it gave."""

from noslop_backend.api.app import create_app
from noslop_backend.api.limits import Limits

__all__ = ["Limits", "create_app"]
