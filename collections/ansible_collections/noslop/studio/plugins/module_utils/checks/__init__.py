# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a host and its part of a studio.

Owns the shape of a check, and what each check expects. Reads only, except for verification's nonce on a share.
"""
