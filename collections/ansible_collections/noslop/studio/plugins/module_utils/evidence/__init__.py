# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gather what shows why a check of a host failed.

Owns what is read of a host's units, disks, network and system, and its bounds. Reads only, each part in a worker
process that is killed when it does not answer. Judges nothing: the driver compares the evidence of all hosts.
"""
