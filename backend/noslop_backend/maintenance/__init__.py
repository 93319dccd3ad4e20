# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep database and share in step: owns retention, reconcile, rebuild, backup.

May touch: services and what is below. Never: HTTP.
"""
