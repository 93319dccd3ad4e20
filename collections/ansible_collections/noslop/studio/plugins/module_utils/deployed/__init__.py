# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remember what a host was like after its last deployment, and compare it with that.

Owns one file of root's, the record, and reads what a deployment manages: files, programs, units, accounts, packages,
shares, and the state of the kernel. Changes nothing else, and never repairs a difference.
"""
