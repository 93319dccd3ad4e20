# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find hosts, accept their keys and gather their facts.

Owns discovery, known_hosts and the reasons why a host cannot be used. May ask hosts. Never changes one.
"""
