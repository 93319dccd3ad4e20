# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend: every project's files in one layout, tracked, limited, never lost."""

__version__ = "0.1.0"
