# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and compare exports and mounts, and mount shares through their units.

Owns the text formats of exports(5), exportfs(8) and the kernel for NFS, and a host's certificates. Never stops an
automount that is in use.
"""
