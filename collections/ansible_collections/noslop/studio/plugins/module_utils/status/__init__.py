# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what a host is doing now: services with their work, cards, free room, failed units, and its own checks.

Owns what ``status`` shows of a host. May request HTTP on this host, and reads. Never changes anything, and never judges
whether the host is as it was deployed, which is for ``checks`` and ``deployed``.
"""
