# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Discover hosts, accept their SSH keys and gather their facts.

Owns discovery, known_hosts and the explanation of SSH errors. May connect to hosts. Never changes one.
"""
