# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print runs and ask questions at the terminal.

Owns all output. May write to the terminal. Never runs anything.
"""
