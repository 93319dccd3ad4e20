# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a host check itself: run its checks, notice what turned, write metrics, and inform a webhook.

Owns the program that the timer runs, and what it writes: its status, a file for the node exporter, and requests to one
address. Changes nothing else on the host, except for a small file on each share that it removes at once.
"""
