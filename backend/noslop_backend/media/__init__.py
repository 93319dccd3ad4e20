# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognise content: owns its types, its tags and the confined child that reads it.

May touch: core, share.layout. Never: the database.
"""
