# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the command line and run a command.

Owns the flags. May use commands and the names of settings. Never decides anything about a studio.
"""
