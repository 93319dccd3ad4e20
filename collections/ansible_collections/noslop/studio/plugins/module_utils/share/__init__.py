# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read, mark and access shared directories.

Owns markers, paths and access by the owning account. May access a share only as its account, or by descriptor.
"""
