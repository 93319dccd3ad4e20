# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands below `models`: the catalogue, what is fetched by it, what workflows need, and what is in the way."""

from noslop_driver.commands.models.command import models

__all__ = ["models"]
