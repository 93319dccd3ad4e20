# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy a user's directory to a share and replace it with a link.

Owns the copy, its comparison and its undoing. Never replaces a file on the share or deletes the user's copy.
"""
