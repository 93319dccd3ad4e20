# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn failed checks and the evidence of all hosts into causes, each with what mends it. Pure.

Touches nothing: no host, no file, no terminal. What a host returned may be anything, so it decides only about causes of
that host, and no text of it becomes a command that runs.
"""
