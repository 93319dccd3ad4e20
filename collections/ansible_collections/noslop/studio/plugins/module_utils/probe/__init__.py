# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what a file system that is shared already can do, on each host and between hosts.

Owns the directory of a probe on a share, the measurements, and the rules that judge them. May touch this directory
only, by descriptors and as the account that owns the share. Never follows a link, and never touches another file.
"""
