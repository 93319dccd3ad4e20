# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`plan --diff`: compares a plan with the studio as it is. Owns what it prints of both.

May touch nothing: it reads the inventory, and looks once at each host. Never writes a file or changes a host.
"""
