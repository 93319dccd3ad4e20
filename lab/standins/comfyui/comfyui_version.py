# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the version that this stand-in imitates. build.py writes another one into each release."""

__version__ = "0.33.0"
