# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open the database and read settings: owns errors and enums too.

May touch: no other package. Never: the share.
"""
