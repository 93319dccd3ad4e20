# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask hubs and marketplaces what they say of a model.

Owns the requests for metadata. Fetches no model, writes no file.
"""
