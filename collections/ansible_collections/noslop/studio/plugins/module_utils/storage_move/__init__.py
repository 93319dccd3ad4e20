# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Move the shares of a studio from one host to another.

Owns the copy beside the final place, the files that are kept on the old server, and the record of a move on each host.
Never writes to a share that is served, and never removes what the move did not make.
"""
