# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answer requests: owns the routes, a file a resource.

May touch: services and below. Never: SQL, the share.
"""
