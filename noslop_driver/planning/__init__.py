# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a studio: propose the roles of its hosts.

Owns the planner, its scores and problems, and the view of a plan. Pure, except for `view`, which prints.
"""
