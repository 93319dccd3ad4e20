# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the services of a host, and switch them between versions.

Owns the units of the services and what is kept for going back. May request HTTP on this host. Never installs anything.
"""
