# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find SSH servers on networks.

Owns interfaces, the plan of a scan and the scan itself. Never logs in.
"""
