# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merge what a studio shall be from flags, files, questions and defaults.

Owns the settings of a studio, studio.yml and its schema. May read files. Never writes an inventory or asks a host.
"""
