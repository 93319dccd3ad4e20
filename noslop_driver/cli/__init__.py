# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the command line and open a session.

Owns the flags and the reading of passwords. May use commands. Never decides anything about a studio.
"""
