# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Propose who does what in a studio.

Owns the planner, its scores and problems, and how a plan is shown. Pure, but for questions at the terminal.
"""
