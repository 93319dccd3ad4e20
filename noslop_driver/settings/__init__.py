# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merge the settings of a studio from flags, files, questions and defaults.

Owns the order of the sources and the questions. May read files. Never writes an inventory.
"""
