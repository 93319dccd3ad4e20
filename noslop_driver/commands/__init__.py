# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one command, from its options to its exit code and what `--json` prints: one file a command.

Owns the order of the steps and their messages. May use phases, planning and settings. Never connects to a host itself.
"""
