# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetch models to a share.

Owns requests by ranges, partial files, types by content, the record of what was fetched, and what is selected from
ComfyUI's lists of models. May touch the network, and the share as the account that owns it. Never replaces or removes a
file under its own name.
"""
