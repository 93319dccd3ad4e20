# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep copies of the models that programs use on a host's own disk, in front of their shares.

Owns the directory of a cache: its copies, and the tree of links that programs read in place of a share. May read the
shares as the accounts that own them. Never writes to a share.
"""
