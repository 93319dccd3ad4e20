# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and change the host: files, processes, sockets, mounts, units and cards.

Owns what any role needs of a Linux host. May touch files and processes. Never refers to shares or services.
"""
