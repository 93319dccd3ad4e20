# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve the plugins and the driver on the controller only, with the driver's Python.

Owns discovery, validation and reports. Never runs on a target.
"""
