# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep each change across a crash: intents, leases, sidecars and metadata.json.

May touch: core, share, models, schemas, repositories, media. Never: HTTP.
"""
