# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands below `host`: change one host, or move the storage, and touch of the others only what must change."""

from noslop_driver.commands.host.command import host

__all__ = ["host"]
