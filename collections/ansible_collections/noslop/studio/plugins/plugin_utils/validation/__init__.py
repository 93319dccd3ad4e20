# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a studio as a whole, before it is deployed.

Owns the rules that plan and preflight share. Pure: accesses no file and no host.
"""
